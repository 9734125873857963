"""The compose set-up: it comes up, plays the README's scenario, sees Redis go and come back, and goes down."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.services import Kind, Services
from tests.services.probe import LOOPBACK, free_port
from tests.support.docker_image import DOCKER, ROOT, built_image

pytestmark = [pytest.mark.once, pytest.mark.timeout(900)]

SECONDS: Final = 180.0
# By our own images, where none can be pulled.
IMAGES: Final = ("KAFKA", "REDIS", "OPA", "NGINX", "PROMETHEUS")


def compose_command() -> list[str]:
    """Return the command of Docker Compose, an empty list if there is none."""
    if DOCKER and subprocess.run([DOCKER, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [DOCKER, "compose"]
    program = shutil.which("docker-compose")
    return [program] if program else []


class Composed(NamedTuple):
    """A project of Docker Compose."""

    command: list[str]
    environment: Mapping[str, str]

    def run(self, *arguments: str, seconds: float = 300) -> str:
        """Return what a command of Docker Compose prints; fails if it fails."""
        done = subprocess.run(
            [*self.command, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"compose {' '.join(arguments)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout

    def url(self, name: str) -> str:
        """Return the address of a published port."""
        return f"http://{LOOPBACK}:{self.environment[f'{name}_PORT']}"

    def until(self, what: str, wanted: Callable[[], bool]) -> None:
        """Wait for something; fails with the logs of all containers."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                if wanted():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"not {what} within {SECONDS:g} s:\n{self.run('logs', '--tail=40')}")


@pytest.fixture(scope="module")
def composed(services: Services) -> Iterator[Composed]:
    """The whole set-up without Grafana, on ports of its own; its data are removed."""
    command = compose_command()
    if services.kind is not Kind.CONTAINERS or not command:
        pytest.skip("needs a Docker engine and Docker Compose")
    if os.environ.get("SLEEP_TEST_DOCKER_NETWORK") == "host":
        pytest.skip("needs networks of the Docker engine, which this kernel does not give")
    images = {f"{name}_IMAGE": os.environ.get(f"SLEEP_TEST_{name}_IMAGE", "") for name in IMAGES}
    ports = {f"{name}_PORT": str(free_port()) for name in ("PROXY", "GATE", "PROMETHEUS", "GRAFANA")}
    project = ["--project-name", f"sleeptest{secrets.token_hex(4)}", "--file", str(ROOT / "deploy" / "compose.yaml")]
    environment = {"SLEEP_IMAGE": built_image(), **{name: image for name, image in images.items() if image}, **ports}
    composed = Composed([*command, *project], environment)
    try:
        composed.run("up", "--detach", seconds=600)
        yield composed
    finally:
        composed.run("down", "--volumes", "--timeout=60")


class Caller(NamedTuple):
    """A caller of the API through the proxy, with a token of tenant `acme`."""

    composed: Composed
    token: str

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """Return the answer to a request."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.request(method, f"{self.composed.url('PROXY')}{path}", headers=headers, timeout=40, **options)

    def state(self) -> str:
        """Return the state of `acme`, or the code of the problem."""
        document = self.request("GET", "/api/brain/sleep_mode").json()
        return str(document.get("state") or document.get("code"))


@pytest.fixture(scope="module")
def caller(composed: Composed) -> Caller:
    """A caller, once the proxy serves."""
    composed.until("ready", lambda: httpx.get(f"{composed.url('PROXY')}/readyz", timeout=5).is_success)
    token = composed.run("run", "--rm", "-T", "sleepctl", "token", "--key", "/keys/key.pem", "--tenant", "acme")
    return Caller(composed, token.strip().splitlines()[-1])


def report(composed: Composed, state: str) -> None:
    """Report the state of a breaker of `acme`, on Kafka."""
    breaker = ("--tenant", "acme", "--name", "payments", "--instance", "pod-1")
    composed.run("run", "--rm", "-T", "sleepctl", "send", "breaker", state, *breaker)


def gate(composed: Composed, tenant: str) -> int:
    """Return the status of the gate's answer for a tenant."""
    return httpx.get(f"{composed.url('GATE')}/gate", headers={"X-Tenant-Id": tenant}, timeout=5).status_code


def alerts(composed: Composed) -> dict[str, str]:
    """Return the alerts of Prometheus that are pending or firing."""
    answer = httpx.get(f"{composed.url('PROMETHEUS')}/api/v1/alerts", timeout=10).raise_for_status()
    return {alert["labels"]["alertname"]: alert["state"] for alert in answer.json()["data"]["alerts"]}


def test_a_breaker_puts_its_tenant_to_sleep_behind_proxy_and_gate(composed: Composed, caller: Caller) -> None:
    """And no other tenant."""
    assert caller.state() == "active"
    composed.until("allowed by the gate", lambda: gate(composed, "acme") == 200)
    report(composed, "open")
    composed.until("asleep", lambda: caller.state() == "freeze")
    composed.until("denied by the gate", lambda: gate(composed, "acme") == 403)
    assert gate(composed, "globex") == 200


def test_prometheus_scrapes_every_process_and_has_the_rules(composed: Composed, caller: Caller) -> None:
    """No alert that a person has to look at is pending."""
    assert caller.token
    url = f"{composed.url('PROMETHEUS')}/api/v1"

    def up() -> bool:
        targets = httpx.get(f"{url}/targets", timeout=10).json()["data"]["activeTargets"]
        return len(targets) == 5 and {target["health"] for target in targets} == {"up"}

    composed.until("scraped", up)
    [group] = httpx.get(f"{url}/rules", timeout=10).json()["data"]["groups"]
    assert "SleepDependencyDown" in {rule["name"] for rule in group["rules"]}
    # Rules that were evaluated before all processes were scraped may be pending for a moment.
    composed.until("without an alert", lambda: "SleepDependencyDown" not in alerts(composed))


def test_redis_is_stopped_and_started_again(composed: Composed, caller: Caller) -> None:
    """The alert sees it, callers get a problem, and afterwards the tenant is as before."""
    composed.run("stop", "redis")
    composed.until("an alert", lambda: alerts(composed).get("SleepDependencyDown") in ("pending", "firing"))
    assert caller.request("GET", "/api/brain/sleep_mode").json()["code"] == "redis_unavailable"
    # The gate has the state in memory.
    assert gate(composed, "acme") == 403
    composed.run("start", "redis")
    composed.until("as before", lambda: caller.state() == "freeze")
    composed.until("without the alert", lambda: "SleepDependencyDown" not in alerts(composed))
    report(composed, "closed")
    composed.until("awake", lambda: caller.state() == "active")
    composed.until("allowed by the gate", lambda: gate(composed, "acme") == 200)
