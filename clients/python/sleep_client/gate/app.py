"""The ASGI application of the gate: which path is answered by what."""

import asyncio
from typing import Final

from sleep_client.asgi import Message, Receive, Scope, Send
from sleep_client.gate import ofrep
from sleep_client.gate.answer import Answer, json_answer
from sleep_client.gate.checking import Checks, States
from sleep_client.gate.metrics import Metrics

GATE: Final = "/gate"
_BODY_SECONDS: Final = 10.0
_METRICS_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_TOO_LARGE: Final = None
_NOT_MODIFIED: Final = 304
Body = bytes | None
"""None for one that is too large."""


class GateApp:
    """Answers proxies, OpenFeature clients and probes.

    Args:
        checks: decide about the requests of a proxy.
        states: what is known.
        metrics: count.
    """

    def __init__(self, checks: Checks, states: States, metrics: Metrics) -> None:
        self._checks = checks
        self._states = states
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the gate serves HTTP, not {scope['type']}")
        answer = await self._answer(scope, receive)
        headers = answer.headers
        if not answer.body and answer.status != _NOT_MODIFIED:
            # Without it the answer would come in chunks.
            headers = [*headers, (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path: str = scope["path"]
        # Envoy puts the path of its caller behind the prefix, with the caller's method.
        if path == GATE or path.startswith(f"{GATE}/"):
            answer, checked = self._checks.check(scope["headers"])
            self._metrics.checks[checked].inc()
            return answer
        if path == ofrep.PATH or path.startswith(f"{ofrep.PATH}/"):
            return await self._evaluate(scope, receive, path)
        if path not in ("/readyz", "/metrics"):
            return json_answer(404, {"detail": "Use /gate, /ofrep/v1/evaluate/flags, /readyz or /metrics."})
        if scope["method"] not in ("GET", "HEAD"):
            return _wrong_method(b"GET, HEAD")
        if path == "/readyz":
            return self._readiness()
        page = self._metrics.page(self._states.status)
        headers = [(b"content-type", _METRICS_TYPE), (b"content-length", str(len(page)).encode())]
        return Answer(200, headers, page)

    def _readiness(self) -> Answer:
        finding = self._states.known()
        document = {"ready": finding is None, "reader": self._states.status.value}
        return json_answer(200, document) if finding is None else json_answer(503, document | {"detail": finding})

    async def _evaluate(self, scope: Scope, receive: Receive, path: str) -> Answer:
        if scope["method"] != "POST":
            return _wrong_method(b"POST")
        headers = dict(scope["headers"])
        try:
            body = await asyncio.wait_for(_read(headers, receive), _BODY_SECONDS)
        except asyncio.TimeoutError:
            return json_answer(408, {"errorDetails": f"The body did not come within {_BODY_SECONDS:g} s."})
        if body is _TOO_LARGE:
            answer, outcome = ofrep.too_large()
        elif path == ofrep.PATH:
            answer, outcome = ofrep.evaluate_all(
                self._states, body, headers.get(b"if-none-match", b"").decode("latin-1")
            )
        else:
            answer, outcome = ofrep.evaluate_one(self._states, path.removeprefix(f"{ofrep.PATH}/"), body)
        self._metrics.evaluations[outcome].inc()
        return answer


async def _read(headers: dict[bytes, bytes], receive: Receive) -> Body:
    length = headers.get(b"content-length", b"0")
    if len(length) > len(str(ofrep.MOST_BYTES)) or int(length) > ofrep.MOST_BYTES:
        return _TOO_LARGE
    body = b""
    more = True
    while more:
        message: Message = await receive()
        body += message.get("body", b"")
        # A client that has left sends `http.disconnect`, which has no more.
        more = message.get("more_body", False)
        if len(body) > ofrep.MOST_BYTES:
            return _TOO_LARGE
    return body


def _wrong_method(allowed: bytes) -> Answer:
    return json_answer(405, {"detail": f"Use {allowed.decode()}."}, ((b"allow", allowed),))
