"""What Helm makes of the chart: objects that Kubernetes accepts, pods without privileges, the tested alerts."""

import re
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import msgspec
import pytest

from tests.services.go_programs import HELM, PROMTOOL
from tests.support.chart import CHART, EXAMPLES, KUBERNETES, RELEASE, rendered

OPERATOR: Final = "monitoring.coreos.com/v1"
"""The kinds of the Prometheus operator are no part of Kubernetes."""
each_example: Final = pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)


def pods_of(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the specification of each pod, by the name of what makes it."""
    return {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]
        for item in objects
        if item["kind"] in ("Deployment", "Job")
    }


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind."""
    return [item for item in objects if item["kind"] == kind]


@each_example
def test_helm_finds_nothing_wrong_with_the_chart(file: Path) -> None:
    """Not even a warning."""
    assert HELM.complaint("lint", "--strict", str(CHART), f"--values={file}") == ""


@each_example
def test_kubernetes_accepts_each_object(file: Path) -> None:
    """By its own schemas, which know no field that is not in them."""
    objects = rendered(file)
    assert objects
    for item in objects:
        if item["apiVersion"] != OPERATOR:
            kubernetes_validate.validate(item, KUBERNETES, strict=True)


@each_example
def test_no_pod_has_privileges(file: Path) -> None:
    """Nor a token of Kubernetes, nor variables of other services."""
    for pod in pods_of(rendered(file)).values():
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        assert pod["securityContext"]["runAsNonRoot"] is True
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@each_example
def test_each_process_is_probed_on_its_own_port(file: Path) -> None:
    """Dependencies are asked by no probe: an outage of Redis restarts nothing."""
    pods = pods_of(rendered(file))
    for part, port in (("worker", 8081), ("api", 8080)):
        [container] = pods[f"{RELEASE}-{part}"]["containers"]
        probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        assert {name: probe["path"] for name, probe in probes.items()} == {
            "startup": "/healthz",
            "liveness": "/healthz",
            "readiness": "/readyz",
        }
        assert [place["containerPort"] for place in container["ports"]] == [port]
        assert {probe["port"] for probe in probes.values()} == {container["ports"][0]["name"]}


def test_a_secret_is_given_by_reference_and_a_setting_as_text() -> None:
    """Numbers too: a variable is text."""
    pods = pods_of(rendered(CHART / "ci" / "production-values.yaml"))
    for pod in pods.values():
        variables = {variable["name"]: variable for variable in pod["containers"][0]["env"]}
        assert variables["SLEEP_PARTITIONS"]["value"] == "32"
        reference = variables["SLEEP_REDIS_URL"]["valueFrom"]["secretKeyRef"]
        assert reference["name"] == "sleep-redis"
        assert {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]} == {
            "/etc/kafka-tls",
            "/etc/sleep-jwks",
        }


def test_each_part_has_a_user_of_its_own() -> None:
    """On top of the variables of all; `deploy/access` has these names."""
    pods = pods_of(rendered(CHART / "ci" / "production-values.yaml"))
    for part, key in (("worker", "worker-url"), ("api", "api-url"), ("topics", "url")):
        variables = {variable["name"]: variable for variable in pods[f"{RELEASE}-{part}"]["containers"][0]["env"]}
        assert variables["SLEEP_KAFKA_SASL_USERNAME"]["value"] == f"sleep-{part}"
        references = {
            name: given["valueFrom"]["secretKeyRef"] for name, given in variables.items() if "valueFrom" in given
        }
        assert references == {
            "SLEEP_REDIS_URL": {"name": "sleep-redis", "key": key},
            "SLEEP_KAFKA_SASL_PASSWORD": {"name": "sleep-kafka", "key": f"{part}-password"},
        }
        assert variables["SLEEP_KAFKA_SECURITY_PROTOCOL"]["value"] == "SASL_SSL"


def test_a_part_may_switch_off_what_is_on_for_all(tmp_path: Path) -> None:
    """Its own value counts, whatever it is: false, 0 or an empty text."""
    file = tmp_path / "values.yaml"
    file.write_text(
        (CHART / "ci" / "least-values.yaml")
        .read_text(encoding="utf-8")
        .replace("settings:\n", "settings:\n  SLEEP_CONSOLE: true\n  SLEEP_OPA_URL: http://opa:8181\n", 1)
        + "api: {settings: {SLEEP_CONSOLE: false, SLEEP_OPA_URL: '', SLEEP_API_CONNECTIONS: 0}}\n"
    )
    pods = pods_of(rendered(file))
    given = {
        part: {
            variable["name"]: variable.get("value") for variable in pods[f"{RELEASE}-{part}"]["containers"][0]["env"]
        }
        for part in ("worker", "api")
    }
    assert (given["worker"]["SLEEP_CONSOLE"], given["worker"]["SLEEP_OPA_URL"]) == ("true", "http://opa:8181")
    assert (given["api"]["SLEEP_CONSOLE"], given["api"]["SLEEP_OPA_URL"]) == ("false", "")
    assert given["api"]["SLEEP_API_CONNECTIONS"] == "0"


def test_a_selector_finds_the_pods_of_its_part_only() -> None:
    """A service of the API must not send requests to workers, and topics belong to none."""
    objects = rendered(CHART / "ci" / "production-values.yaml")
    made = [item for item in objects if item["kind"] in ("Deployment", "Job")]
    labels = {item["metadata"]["name"]: item["spec"]["template"]["metadata"]["labels"] for item in made}
    for item in of_kind(objects, "Service"):
        found = [name for name, given in labels.items() if item["spec"]["selector"].items() <= given.items()]
        assert found == [item["metadata"]["name"]]


def test_what_scales_has_no_number_of_replicas() -> None:
    """An upgrade would set it back."""
    objects = rendered(CHART / "ci" / "scaling-values.yaml")
    scaled = {item["spec"]["scaleTargetRef"]["name"] for item in of_kind(objects, "HorizontalPodAutoscaler")}
    assert scaled == {f"{RELEASE}-worker"}
    counted = {item["metadata"]["name"] for item in of_kind(objects, "Deployment") if "replicas" in item["spec"]}
    assert counted == {f"{RELEASE}-api"}
    assert of_kind(objects, "Job") == of_kind(objects, "PodDisruptionBudget") == []


def test_the_alerts_of_the_chart_are_those_that_are_tested(tmp_path: Path) -> None:
    """With the address of the runbooks in front."""
    [rule] = of_kind(rendered(CHART / "ci" / "production-values.yaml"), "PrometheusRule")
    file = tmp_path / "rules.yaml"
    file.write_bytes(msgspec.yaml.encode(rule["spec"]))
    assert PROMTOOL.complaint("check", "rules", str(file)) == ""
    [group] = rule["spec"]["groups"]
    [shipped] = msgspec.yaml.decode((CHART.parents[1] / "prometheus" / "rules.yaml").read_bytes())["groups"]
    assert [item["expr"] for item in group["rules"]] == [item["expr"] for item in shipped["rules"]]
    urls = [item["annotations"]["runbook_url"] for item in group["rules"]]
    assert all(url.startswith("https://pages.example/docs/runbooks/alerts.md#") for url in urls)


def test_helm_refuses_a_wrong_value_with_its_name(tmp_path: Path) -> None:
    """Nothing is rendered."""
    file = tmp_path / "values.yaml"
    file.write_text((CHART / "ci" / "least-values.yaml").read_text(encoding="utf-8") + "worker: {replica: 3}\n")
    done = HELM.run("template", RELEASE, str(CHART), f"--values={file}")
    assert (done.returncode, done.stdout) == (1, "")
    # Its words differ between versions of Helm.
    assert re.search(r"worker.*\breplica\b.* not allowed", done.stderr), done.stderr
