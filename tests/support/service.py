"""A service that obeys: a WSGI application behind the middleware, with a reader, and for a shop with a real pybreaker.

`python service.py URL TENANT [shop]`, with the token in `SLEEP_TOKEN`, serves on a port of its own. Each line that it
prints is a JSON object: first `{"port"}`, then `{"at", "state", "stale", "status"}` whenever what its reader says has
changed; `at` is the wall clock in milliseconds.

- `GET /work`: the answer of a service that obeys.
- `GET /pay`: a call that fails, guarded by the breaker.
- `GET /state`: what the reader says now.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pybreaker

from sleep_client import Emitter, SleepReader
from sleep_client.pybreaker import SleepListener
from sleep_client.wsgi import SleepMiddleware


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


class Service:
    """One service, of one tenant."""

    def __init__(self, url: str, tenant: str, token: str) -> None:
        self.tenant = tenant
        self.reader = SleepReader(url, token, max_stale_seconds=600)
        self.emitter = Emitter(url, token, instance="shop-1")
        self.breaker = pybreaker.CircuitBreaker(
            fail_max=2, reset_timeout=600, name="payments", listeners=[SleepListener(self.emitter, tenant)]
        )

    def now(self) -> dict[str, Any]:
        """Return what the reader says."""
        state = self.reader.state(self.tenant)
        return {
            "state": state.state,
            "stale": state.stale,
            "status": self.reader.status.value,
            "ends_at": state.ends_at,
            "parameters": dict(state.parameters),
        }

    def watch(self) -> None:
        """Print what the reader says whenever it changes."""
        before = None
        while True:
            now = {name: value for name, value in self.now().items() if name in ("state", "stale", "status")}
            if now != before:
                _say({"at": time.time() * 1000, **now})
                before = now
            time.sleep(0.002)

    def app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve a request."""
        document: dict[str, Any] = {}
        match environ["PATH_INFO"]:
            case "/state":
                document = self.now()
            case "/pay":
                try:
                    self.breaker.call(self._pay)
                except (ConnectionError, pybreaker.CircuitBreakerError) as error:
                    document = {"error": type(error).__name__}
            case _:
                document = {"state": environ["sleep_client.state"].state}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(document).encode()]

    def _pay(self) -> None:
        raise ConnectionError("refused")


def main(url: str, tenant: str) -> None:
    """Serve until the process is ended."""
    service = Service(url, tenant, os.environ["SLEEP_TOKEN"])
    service.reader.wait_ready(60)
    guarded = SleepMiddleware(
        service.app,
        service.reader,
        # Only `/work` is of a tenant; a shop would take the tenant from the identity that it has verified.
        lambda environ: tenant if environ["PATH_INFO"] == "/work" else None,
        deny={"freeze"},
        not_ready="deny",
        no_tenant="allow",
    )
    with make_server("127.0.0.1", 0, guarded, server_class=_Server, handler_class=_Handler) as server:
        _say({"port": server.server_port})
        threading.Thread(target=service.watch, daemon=True).start()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
