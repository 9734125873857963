"""Print the outlier detection log of a real Envoy: hosts that are ejected and brought back. See ../README.md."""

import http.client
import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

TYPES: Final = "type.googleapis.com/envoy.extensions.filters"
UPSTREAM: Final = 18_401
LISTENERS: Final = {"payments": 18_402, "observed": 18_403}
"""The port of each cluster's listener. `observed` does not enforce its ejections."""


class Failing(http.server.BaseHTTPRequestHandler):
    """Answers every request with 500."""

    def do_GET(self) -> None:
        """Answer a request."""
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(cluster: str) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": cluster,
        "route_config": {
            "virtual_hosts": [
                {"name": "any", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"address": _address(LISTENERS[cluster]), "filter_chains": [{"filters": filters}]}


def _cluster(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(UPSTREAM)}}]}],
        },
        "outlier_detection": {
            "consecutive_5xx": 2,
            "interval": "0.5s",
            "base_ejection_time": "1s",
            "max_ejection_percent": 100,
            "enforcing_consecutive_5xx": 0 if name == "observed" else 100,
        },
    }


def main(program: str) -> None:
    """Run Envoy until both clusters have logged, and print the log."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", UPSTREAM), Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        events, configuration = Path(folder, "events"), Path(folder, "envoy.json")
        document = {
            "static_resources": {
                "listeners": [_listener(name) for name in LISTENERS],
                "clusters": [_cluster(name) for name in LISTENERS],
            },
            "cluster_manager": {"outlier_detection": {"event_log_path": str(events)}},
        }
        configuration.write_text(json.dumps(document), encoding="utf-8")
        envoy = subprocess.Popen([program, "-c", str(configuration), "--use-dynamic-base-id", "--log-level", "error"])
        try:
            time.sleep(2)
            for port in LISTENERS.values():
                for _ in range(3):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    connection.request("GET", "/")
                    connection.getresponse().read()
                    connection.close()
            time.sleep(4)
        finally:
            envoy.terminate()
            envoy.wait()
        sys.stdout.write(events.read_text(encoding="utf-8"))
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
