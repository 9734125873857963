"""Print the webhooks of a real Alertmanager: a group that fires, and resolves in part. See ../README.md."""

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

HOOK: Final = 18_411
PORT: Final = 18_412
ALERTS: Final = (
    {"alertname": "PaymentsFailing", "tenant": "acme", "pod": "pod-1"},
    {"alertname": "PaymentsFailing", "tenant": "globex", "pod": "pod-2"},
    {"alertname": "PaymentsFailing", "pod": "pod-3"},
)
"""The labels of the alerts. The last one has no tenant."""
CONFIGURATION: Final = {
    "route": {"receiver": "sleep", "group_wait": "1s", "group_interval": "1s", "group_by": ["alertname"]},
    "receivers": [
        {"name": "sleep", "webhook_configs": [{"url": f"http://127.0.0.1:{HOOK}/", "send_resolved": True}]},
    ],
}


class Hook(http.server.BaseHTTPRequestHandler):
    """Prints each webhook, one line each."""

    def do_POST(self) -> None:
        """Answer a webhook."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sys.stdout.write(json.dumps(json.loads(body), separators=(",", ":")) + "\n")
        sys.stdout.flush()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _post(alerts: list[dict[str, Any]]) -> None:
    """Post alerts, and try again while Alertmanager starts."""
    for _ in range(50):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
        try:
            connection.request("POST", "/api/v2/alerts", json.dumps(alerts), {"Content-Type": "application/json"})
            connection.getresponse().read()
        except ConnectionRefusedError:
            time.sleep(0.2)
        else:
            return
        finally:
            connection.close()


def main(program: str) -> None:
    """Run Alertmanager while alerts fire, and print what it sends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", HOOK), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    annotations = {"summary": "payments fail for this tenant"}
    alerts = [{"labels": labels, "annotations": annotations} for labels in ALERTS]
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML.
        configuration = Path(folder, "alertmanager.yml")
        configuration.write_text(json.dumps(CONFIGURATION), encoding="utf-8")
        alertmanager = subprocess.Popen(
            [
                program,
                f"--config.file={configuration}",
                f"--storage.path={folder}",
                f"--web.listen-address=127.0.0.1:{PORT}",
                "--web.external-url=http://alertmanager.example",
                "--cluster.listen-address=",
                "--log.level=error",
            ]
        )
        try:
            _post(alerts)
            time.sleep(3)
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            _post([alerts[0] | {"endsAt": now}])
            time.sleep(3)
            _post([alert | {"endsAt": now} for alert in alerts])
            time.sleep(3)
        finally:
            alertmanager.terminate()
            alertmanager.wait()
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
