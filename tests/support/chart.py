"""The Helm chart: its values, their schema, and the examples of values."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import msgspec
from jsonschema import Draft7Validator

from tests.services.go_programs import HELM

CHART: Final = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "somabrain-sleep"
EXAMPLES: Final = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE: Final = "brain"
# Helm assumes an old version where it asks no cluster.
KUBERNETES: Final = "1.31"


def schema() -> dict[str, Any]:
    """Return the schema of the values."""
    document: dict[str, Any] = json.loads((CHART / "values.schema.json").read_bytes())
    return document


def values_of(file: Path) -> dict[str, Any]:
    """Return the values in a file."""
    values: dict[str, Any] = msgspec.yaml.decode(file.read_bytes())
    return values


def merged(values: dict[str, Any]) -> dict[str, Any]:
    """Return the chart's values with others on top, as Helm merges them."""

    def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
        result = deepcopy(below)
        for name, value in above.items():
            both = isinstance(value, dict) and isinstance(result.get(name), dict)
            result[name] = merge(result[name], value) if both else value
        return result

    return merge(values_of(CHART / "values.yaml"), values)


def refused(values: dict[str, Any]) -> list[str]:
    """Return what the schema finds wrong: the place and the message of each finding."""
    findings = Draft7Validator(schema()).iter_errors(merged(values))
    return sorted(f"{'.'.join(map(str, finding.absolute_path))}: {finding.message}" for finding in findings)


def rendered(file: Path) -> list[dict[str, Any]]:
    """Return the objects that Helm makes of the chart with the values of a file."""
    done = HELM.run("template", RELEASE, str(CHART), f"--kube-version={KUBERNETES}", f"--values={file}")
    assert done.returncode == 0, done.stderr
    return [msgspec.yaml.decode(part) for part in done.stdout.split("\n---\n") if "kind:" in part]
