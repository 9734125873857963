"""Every metric is defined once, in `schemas.metrics`, and the processes export exactly those."""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.observability.metrics import Metrics as ApiMetrics
from docs.generator.files import generated
from schemas.metrics import catalog
from schemas.metrics.definition import CounterDefinition, Definition, HistogramDefinition, Label
from worker.metrics import Metrics as WorkerMetrics

ROOT: Final = Path(__file__).resolve().parents[2]
DEFINED_IN: Final = Path("schemas/metrics/definition.py")
_MAKERS: Final = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}


def families_of(text: str) -> dict[str, Metric]:
    """Return the metrics in a text as Prometheus reads it, by name; when a counter was created is no metric."""
    families = text_string_to_metric_families(text)
    return {family.name: family for family in families if not family.name.endswith("_created")}


def makers(source: str) -> list[str]:
    """Return the classes of metrics that a source imports."""
    return [
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
        for alias in node.names
        if alias.name in _MAKERS
    ]


@pytest.mark.parametrize(
    ("text", "defined"),
    [
        (ApiMetrics().render().decode(), catalog.API),
        (generate_latest(WorkerMetrics().registry).decode(), catalog.WORKER),
    ],
    ids=["api", "worker"],
)
def test_a_process_exports_the_metrics_of_the_catalog_and_no_others(text: str, defined: Iterable[Definition]) -> None:
    """With the kind and the meaning of their definitions."""
    exported = {name: (family.type, family.documentation) for name, family in families_of(text).items()}
    assert exported == {metric.family: (metric.kind, metric.meaning) for metric in defined}


def test_metrics_are_made_from_definitions_only() -> None:
    """A metric that is made elsewhere would be on no page and in no alert."""
    made = {
        path.relative_to(ROOT): found
        for package in ("api", "schemas", "sleepctl", "worker")
        for path in (ROOT / package).rglob("*.py")
        if (found := makers(path.read_text(encoding="utf-8")))
    }
    assert made.keys() == {DEFINED_IN}
    assert makers("from prometheus_client import Counter as C") == ["Counter"]


@pytest.mark.parametrize("metric", catalog.ALL.values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_by_the_conventions_of_prometheus(metric: Definition) -> None:
    """Prefix with the process, a base unit at the end, `_total` for a counter; the meaning is a sentence."""
    assert metric.name.startswith(("sleep_api_", "sleep_worker_"))
    assert metric.name.endswith("_total") is isinstance(metric, CounterDefinition)
    assert not metric.name.endswith(("_ms", "_milliseconds", "_minutes", "_kb", "_count", "_sum", "_bucket"))
    assert metric.meaning.endswith(".")


@pytest.mark.parametrize("metric", catalog.ALL.values(), ids=lambda metric: metric.name)
def test_the_series_of_a_metric_are_bounded(metric: Definition) -> None:
    """No label holds a tenant; each has a list of values, or says what bounds them."""
    for label in metric.labels:
        assert label.name not in {"tenant", "tenant_id", "subject", "actor", "operation_id", "breaker", "instance"}
        assert bool(label.values) is not bool(label.bound), label
        assert len(set(label.values)) == len(label.values)


@pytest.mark.parametrize(
    "metric", [metric for metric in catalog.ALL.values() if isinstance(metric, HistogramDefinition)], ids=str
)
def test_the_buckets_of_a_histogram_ascend(metric: HistogramDefinition) -> None:
    """And there are some."""
    assert metric.buckets
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_a_definition_names_the_series_that_prometheus_stores() -> None:
    """A histogram has three, the others one."""
    registry = CollectorRegistry()
    label = Label("kind", ("a",))
    counter, histogram = CounterDefinition("x_total", "X.", (label,)), HistogramDefinition("y", "Y.", buckets=(1.0,))
    counter.register(registry).labels("a").inc()
    histogram.register(registry).observe(2)
    samples = [sample.name for family in registry.collect() for sample in family.samples]
    assert {name for name in samples if not name.endswith("_created")} == {*counter.series, *histogram.series}


def test_the_page_of_metrics_has_each_of_them() -> None:
    """With its kind and its labels, and a row for each of the labels."""
    page = generated()["docs/reference/metrics.md"]
    for metric in catalog.ALL.values():
        row, *of_labels = [line for line in page.splitlines() if line.startswith(f"| `{metric.name}` ")]
        assert f"| {metric.kind} | {', '.join(f'`{label.name}`' for label in metric.labels)} |" in row
        assert [line.split("|")[2].strip(" `") for line in of_labels] == [label.name for label in metric.labels]
