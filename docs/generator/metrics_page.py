"""The page of all metrics, made from the definitions that the processes register."""

from collections.abc import Iterable
from typing import Final

from docs.generator.markdown import table
from schemas.metrics.catalog import API, PARENT, WORKER
from schemas.metrics.definition import Definition, GaugeDefinition, Label

_INTRO: Final = """\
# Metrics

For operators. This page lists each metric that `/metrics` of the API and of the worker shows.

- The number of time series is bounded. No label holds a tenant, an id or a text of a caller. [The audit and the
  log](../how-to/list-refusals.md) say which tenants were concerned.
- A histogram `NAME` has the series `NAME_bucket`, `NAME_sum` and `NAME_count`.
- For each counter and histogram, `/metrics` also has a gauge `…_created`: when this process began to count.
- With `--processes N` the page is the sum of all processes. For some gauges it is the lowest or the highest value, as
  the column _several processes_ says.

[Monitor with Prometheus and Grafana](../how-to/monitor.md) has alerts and a dashboard. [Alerts](../runbooks/alerts.md)
says what to do.
"""
_SECTIONS: Final = (
    ("API", "Of each API process, on the port `SLEEP_API_PORT`.", API),
    ("Worker", "Of each worker process, on the port `SLEEP_WORKER_METRICS_PORT`.", WORKER),
    ("Several processes of one command", "Only with `--processes N` above 1.", PARENT),
)
_MERGED: Final = {"sum": "sum", "min": "lowest", "max": "highest"}


def metrics_page() -> str:
    """Return the page of metrics."""
    return _INTRO + "".join(
        f"\n## {title}\n\n{text}\n\n{_metrics(metrics)}\n### Labels\n\n{_labels(metrics)}"
        for title, text, metrics in _SECTIONS
    )


def _metrics(metrics: Iterable[Definition]) -> str:
    head = ("metric", "kind", "labels", "several processes", "meaning")
    return table(head, ([f"`{metric.name}`", metric.kind, *_parts(metric), metric.meaning] for metric in metrics))


def _parts(metric: Definition) -> tuple[str, str]:
    return ", ".join(f"`{name}`" for name in metric.label_names), _MERGED[
        metric.merge if isinstance(metric, GaugeDefinition) else "sum"
    ]


def _labels(metrics: Iterable[Definition]) -> str:
    rows = [(f"`{metric.name}`", f"`{label.name}`", _values(label)) for metric in metrics for label in metric.labels]
    return table(("metric", "label", "values"), rows)


def _values(label: Label) -> str:
    return label.bound or ", ".join(f"`{value}`" for value in label.values)
