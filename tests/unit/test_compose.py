"""The compose file fits the settings, the ports, the tested versions and the bounds of a stop."""

import re
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from schemas.settings import Settings
from sleep_client.gate.settings import read_settings
from sleepctl.runtime.event_loop import SUPERVISED_STOP_SECONDS
from tests.services.jars import kafka_version
from tests.services.opa_program import OPA_VERSION
from tests.support.settings import loaded

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
FILE: Final[dict[str, Any]] = msgspec.yaml.decode((DEPLOY / "compose.yaml").read_bytes())
SERVICES: Final[dict[str, Any]] = FILE["services"]
OURS: Final = {name for name, service in SERVICES.items() if service["image"].startswith("${SLEEP_IMAGE:-")}
PROCESSES: Final = ("worker-1", "worker-2", "api-1", "api-2")
PORTS: Final = {"api": Settings.model_fields["api_port"].default, "worker": 8081, "gate": 8090}


@pytest.mark.parametrize("name", sorted(OURS - {"gate"}))
def test_each_variable_is_a_setting_with_a_good_value(name: str) -> None:
    """A misspelled one would be ignored with a warning."""
    variables = {key.removeprefix("SLEEP_"): value for key, value in SERVICES[name]["environment"].items()}
    variables.pop("URL", None)
    assert {key.lower() for key in variables} <= Settings.model_fields.keys()
    assert loaded(**variables).partitions == 8


def test_the_gate_accepts_its_variables(tmp_path: Path) -> None:
    """It refuses a name that it does not know."""
    given = {key: value for key, value in SERVICES["gate"]["environment"].items() if key != "PYTHONPATH"}
    token = tmp_path / Path(given["SLEEP_TOKEN_FILE"]).name
    token.write_text("a-token")
    assert read_settings(given | {"SLEEP_TOKEN_FILE": str(token)}).deny == {"deep", "freeze"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_processes_have_no_privileges(name: str) -> None:
    """As in the chart."""
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_has_time_to_end_before_it_is_killed(name: str) -> None:
    """It ends itself by force before the engine does."""
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= SUPERVISED_STOP_SECONDS + 5


def test_other_machines_reach_no_port() -> None:
    """Nothing here has TLS or a password."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_redis_is_a_database() -> None:
    """Nothing is evicted, and each write is in a file."""
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_kafka_and_opa_are_the_versions_of_the_tests() -> None:
    """Another one may be named by a variable."""
    assert SERVICES["kafka"]["image"] == f"${{KAFKA_IMAGE:-apache/kafka:{kafka_version()}}}"
    assert SERVICES["opa"]["image"] == f"${{OPA_IMAGE:-openpolicyagent/opa:{OPA_VERSION}}}"


def test_the_proxy_and_prometheus_ask_each_process_by_name_and_port() -> None:
    """A process that is forgotten here would serve unseen."""
    proxied = re.findall(r"server ([\w-]+:\d+);", (DEPLOY / "compose" / "nginx.conf").read_text(encoding="utf-8"))
    scraped: list[dict[str, Any]] = msgspec.yaml.decode((DEPLOY / "compose" / "prometheus.yml").read_bytes())[
        "scrape_configs"
    ]
    targets = [target for job in scraped for target in job["static_configs"][0]["targets"]]
    expected = {name: f"{name}:{PORTS[name.partition('-')[0]]}" for name in (*PROCESSES, "gate")}
    assert sorted(targets) == sorted(expected.values())
    assert proxied == [expected["api-1"], expected["api-2"]]


def test_each_service_has_a_health_check() -> None:
    """Its own, that of our image, or none on purpose. Grafana is for people alone."""
    checked = {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert SERVICES.keys() - checked == {"keys", "topics", "grafana"}
    assert "| grep" in SERVICES["redis"]["healthcheck"]["test"][1]


@pytest.mark.parametrize("name", ["api-1", "api-2"])
def test_an_api_waits_for_what_it_needs(name: str) -> None:
    """Without OPA it would refuse commands."""
    assert {needed: service["condition"] for needed, service in SERVICES[name]["depends_on"].items()} == {
        "keys": "service_completed_successfully",
        "topics": "service_completed_successfully",
        "redis": "service_healthy",
        "opa": "service_healthy",
    }


@pytest.mark.parametrize("name", ["keys", "topics"])
def test_a_job_is_tried_again(name: str) -> None:
    """Kafka may say no while it starts."""
    assert SERVICES[name]["restart"] == "on-failure"


def test_each_file_and_volume_is_there() -> None:
    """The engine would make an empty folder in the place of a missing file."""
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    sources = {volume.partition(":")[0] for volume in volumes}
    assert {source for source in sources if not source.startswith(".")} == FILE["volumes"].keys()
    assert [source for source in sources if source.startswith(".") and not (DEPLOY / source).exists()] == []
