"""A worker and an API as two processes on real services, operated by the command line alone."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.services.choose import Services
from tests.services.namespace import Namespace
from tests.services.skips import Lacks
from tests.support.command import Running, call

pytestmark = [pytest.mark.smoke, pytest.mark.needs_kafka(Lacks.TOPICS), pytest.mark.timeout(400)]

ISSUED = {"SLEEP_JWT_ISSUER": "urn:test", "SLEEP_JWT_AUDIENCE": "sleep"}
SCOPES = "sleep:read sleep:write sleep:policy"


class Installation(NamedTuple):
    """Two processes, and how commands reach them."""

    worker: Running
    api: Running
    folder: Path
    environment: dict[str, str]

    def call(self, *arguments: str) -> dict[str, Any]:
        """Run a command that must succeed and return the JSON that it prints."""
        done = call(*arguments, "--json", folder=self.folder, environment=self.environment)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def wait_for_state(self, tenant: str, state: str, seconds: float = 15) -> None:
        """Wait until `state` shows the tenant in this state."""
        deadline = time.monotonic() + seconds
        while (result := self.call("state", tenant))["state"] != state:
            assert time.monotonic() < deadline, result
            time.sleep(0.1)


@pytest.fixture(scope="module")
def installation(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Topics, a key, a worker and an API."""
    folder = tmp_path_factory.mktemp("installation")
    environment = {
        **services.environ(),
        **module_namespace.environ(),
        **ISSUED,
        "SLEEP_PARTITIONS": "2",
        "SLEEP_JWT_JWKS": str(folder / "keys" / "jwks.json"),
        "SLEEP_API_PORT": "0",
        "SLEEP_WORKER_METRICS_PORT": "0",
    }
    made = call("topics", "create", "--json", folder=folder, environment=environment)
    assert made.returncode == 0, made.stderr
    token = call(
        "token", "--tenant", "acme", "--scope", SCOPES, "--new-key", "keys", folder=folder, environment=environment
    )
    environment["SLEEP_TOKEN"] = token.stdout.strip()
    with (
        Running("worker", folder=folder, environment=environment) as worker,
        Running("api", folder=folder, environment=environment) as api,
    ):
        serving = json.loads(api.wait_for("api_serving", 30))
        environment["SLEEP_URL"] = serving["url"]
        worker.wait_for("worker_ready", 60)
        yield Installation(worker, api, folder, environment)


def test_the_topics_that_were_made_are_as_they_must_be(installation: Installation) -> None:
    """A second `create` finds nothing to do."""
    assert installation.call("topics", "check") == {"ok": True, "findings": [], "warnings": []}
    assert installation.call("topics", "create") == {"created": [], "notes": []}


def test_another_partition_count_is_found(installation: Installation) -> None:
    """It would put tenants on partitions where nobody looks."""
    environment = installation.environment | {"SLEEP_PARTITIONS": "3"}
    for command in (("topics", "check"), ("worker",)):
        done = call(*command, folder=installation.folder, environment=environment)
        assert done.returncode == 1
        assert "has 2 partitions and SLEEP_PARTITIONS is 3" in done.stderr


def test_a_breaker_freezes_the_tenant_and_frees_it(installation: Installation) -> None:
    """Through ingress, and past it."""
    breaker = ("--tenant", "acme", "--name", "db", "--instance", "pod-1")
    installation.call("send", "breaker", "open", *breaker)
    installation.wait_for_state("acme", "freeze", 60)
    installation.call("send", "breaker", "closed", *breaker, "--direct")
    installation.wait_for_state("acme", "active")


def test_a_sleep_is_started_shown_and_cancelled(installation: Installation) -> None:
    """The outcome of each is printed."""
    operation = installation.call("send", "sleep", "deep", "--ttl", "600", "--reason", "drill")
    assert (operation["status"], operation["state"], operation["reason"]) == ("running", "deep", "drill")
    installation.call("send", "cancel", operation["operation_id"])
    installation.wait_for_state("acme", "active")


def test_a_mode_is_set_without_waiting_and_removed(installation: Installation) -> None:
    """202, and the state follows."""
    installation.call("send", "mode", "light", "--async")
    installation.wait_for_state("acme", "light")
    assert installation.call("send", "mode", "active")["state"] == "active"


def test_a_policy_is_versioned(installation: Installation) -> None:
    """A writer who did not see the last change is refused."""
    file = installation.folder / "policy.json"
    file.write_text('{"max_ttl_seconds": 60}')
    version = installation.call("send", "policy", str(file))["policy_version"]
    refused = call(
        "send", "policy", str(file), "--if-version", str(version - 1),
        folder=installation.folder, environment=installation.environment,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "version_conflict" in refused.stderr
    assert installation.call("send", "policy", "--default")["default"] is True


def test_rules_reach_every_partition(installation: Installation) -> None:
    """What was applied is what is shown."""
    file = installation.folder / "rules.json"
    file.write_text('{"policy": {"ceiling": "deep"}}')
    applied = installation.call("rules", "apply", str(file), "--reason", "drill")
    assert len(applied["offsets"]) == 2
    deadline = time.monotonic() + 15
    while True:
        shown = installation.call("rules", "show")
        if {entry["digest"] for entry in shown["partitions"]} == {applied["digest"]}:
            break
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)
    assert shown["same"] is True


def test_another_tenant_is_forbidden_and_the_reason_is_told(installation: Installation) -> None:
    """The token speaks for its own tenant."""
    done = call("state", "globex", folder=installation.folder, environment=installation.environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "403" in done.stderr


def test_both_processes_end_well_when_they_are_asked_to(installation: Installation) -> None:
    """Last in this module: within the grace that a supervisor gives."""
    assert installation.api.stop(signal.SIGTERM, 25) == 0, installation.api.told
    assert installation.worker.stop(signal.SIGTERM, 25) == 0, installation.worker.told
    assert all(json.loads(line) for line in installation.worker.lines if line.startswith("{"))
