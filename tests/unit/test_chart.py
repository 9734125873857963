"""The values of the Helm chart: the examples are accepted, and what is wrong is named."""

from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft7Validator

from schemas.build_info import version
from schemas.settings import Settings
from sleepctl.runtime.event_loop import SUPERVISED_STOP_SECONDS
from tests.support.chart import CHART, EXAMPLES, merged, refused, schema, values_of

LEAST: Final = values_of(CHART / "ci" / "least-values.yaml")
SET_BY_THE_CHART: Final = {"SLEEP_API_HOST", "SLEEP_API_PORT", "SLEEP_WORKER_METRICS_PORT"}
"""The image sets the address, and the chart the ports."""


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the least values with another value at a path."""
    values = merged(LEAST)
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place[name]
    place[last] = value
    return values


def test_the_schema_is_one_and_knows_each_value_of_the_chart() -> None:
    """A value without a schema could be misspelled unseen."""
    Draft7Validator.check_schema(schema())
    assert schema()["properties"].keys() == values_of(CHART / "values.yaml").keys() | {"global"}
    assert schema()["additionalProperties"] is False


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_of_values_are_accepted(file: Path) -> None:
    """With the chart's own values below them."""
    assert refused(values_of(file)) == []


def test_what_an_installation_must_give_is_named() -> None:
    """The chart's own values alone are no installation."""
    assert [finding.partition(":")[0] for finding in refused({})] == [
        "image.repository",
        "image.tag",
        *["secrets"],
        *["settings"] * 4,
    ]


@pytest.mark.parametrize(
    ("path", "value", "finding"),
    [
        ("workers", {}, ": Additional properties are not allowed ('workers' was unexpected)"),
        ("worker.replica", 3, "worker: Additional properties are not allowed ('replica' was unexpected)"),
        ("worker.processes", 65, "worker.processes: 65 is greater than the maximum of 64"),
        ("api.service.type", "Ingress", "api.service.type: 'Ingress' is not one of"),
        ("settings.SLEEP_PARTITION", 8, "settings: 'SLEEP_PARTITION' is not one of"),
        ("worker.settings", {"SLEEP_PARTITION": 8}, "worker.settings: 'SLEEP_PARTITION' is not one of"),
        ("api.secrets", {"SLEEP_REDIS_URL": "redis://"}, "api.secrets.SLEEP_REDIS_URL: 'redis://' is not of type"),
        ("topicsJob.settings", {"SLEEP_REDIS_URL": "r"}, "topicsJob.settings: 'SLEEP_REDIS_URL' is not one of"),
        ("settings.SLEEP_REDIS_URL", "redis://:secret@redis", "settings: 'SLEEP_REDIS_URL' is not one of"),
        ("settings.OTEL_TRACES_SAMPLER2", "always_on", "settings: 'OTEL_TRACES_SAMPLER2' does not match"),
        ("secrets.OTEL_EXPORTER_OTLP_HEADERS", "a=b", "secrets.OTEL_EXPORTER_OTLP_HEADERS: 'a=b' is not of type"),
        ("settings.SLEEP_API_PORT", 80, "settings: 'SLEEP_API_PORT' is not one of"),
        # Helm writes such a number as 1e+06.
        ("settings.SLEEP_API_CONNECTIONS", 1_000_000, "settings.SLEEP_API_CONNECTIONS: 1000000 is greater than"),
        ("secrets.SLEEP_REDIS_URL", "redis://", "secrets.SLEEP_REDIS_URL: 'redis://' is not of type 'object'"),
        ("terminationGracePeriodSeconds", 30, "terminationGracePeriodSeconds: 30 is less than the minimum of 55"),
        ("mounts", [{"name": "a", "path": "/a"}], "mounts.0:"),
        ("prometheusRule.enabled", True, "prometheusRule.runbooks: '' does not match"),
    ],
)
def test_a_wrong_value_is_one_finding(path: str, value: object, finding: str) -> None:
    """It names the place."""
    [found] = refused(changed(path, value))
    assert found.startswith(finding)


@pytest.mark.parametrize("part", ["worker", "api", "topicsJob"])
@pytest.mark.parametrize("name", ["PARTITIONS", "TOPIC_PREFIX", "REDIS_PREFIX", "CONSUMER_GROUP"])
def test_no_part_has_another_partition_count_prefix_or_group(part: str, name: str) -> None:
    """All processes of an installation share these."""
    [found] = refused(changed(f"{part}.settings", {f"SLEEP_{name}": 8}))
    assert found.startswith(f"{part}.settings: 'SLEEP_{name}' should not be valid under")


def test_the_chart_takes_every_setting() -> None:
    """Those with a secret value only by reference."""
    names = {f"SLEEP_{name.upper()}": field for name, field in Settings.model_fields.items()}
    secret = {name for name, field in names.items() if "SecretStr" in str(field.annotation)}
    properties = schema()["properties"]
    assert set(properties["secrets"]["propertyNames"]["else"]["enum"]) == secret
    assert set(properties["settings"]["propertyNames"]["else"]["enum"]) == names.keys() - secret - SET_BY_THE_CHART


def test_the_chart_takes_the_variables_of_opentelemetry() -> None:
    """In `settings`, and those with a secret value in `secrets`; for one part alone too."""
    values = merged(LEAST)
    values["settings"] |= {"SLEEP_TRACING": True, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    values["secrets"]["OTEL_EXPORTER_OTLP_HEADERS"] = {"name": "otel", "key": "headers"}
    values["api"]["settings"] = {"OTEL_TRACES_SAMPLER_ARG": 0.01}
    assert refused(values) == []


def test_a_process_has_time_to_end_before_it_is_killed() -> None:
    """It ends itself by force before Kubernetes does, and says so; with several processes too."""
    assert values_of(CHART / "values.yaml")["terminationGracePeriodSeconds"] >= SUPERVISED_STOP_SECONDS + 5
    assert schema()["properties"]["terminationGracePeriodSeconds"]["minimum"] > SUPERVISED_STOP_SECONDS


def test_the_chart_is_of_this_version() -> None:
    """The version of the program that it installs."""
    assert values_of(CHART / "Chart.yaml")["appVersion"] == version()


def test_the_chart_has_the_rules_that_are_tested() -> None:
    """A link, so that there is one file."""
    assert (CHART / "files" / "rules.yaml").resolve() == CHART.parents[1] / "prometheus" / "rules.yaml"
