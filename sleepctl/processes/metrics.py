"""Makes one text of metrics of those of several processes."""

from collections.abc import Callable, Iterable, Iterator
from math import isnan
from operator import add
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from schemas.metrics.catalog import ALL
from schemas.metrics.definition import GaugeDefinition, Merge

_Labels = tuple[tuple[str, str], ...]

_MERGES: Final[dict[Merge, Callable[[float, float], float]]] = {"sum": add, "min": min, "max": max}
_GAUGES: Final = {metric.name: metric.merge for metric in ALL.values() if isinstance(metric, GaugeDefinition)}
_CREATED: Final = "_created"


def merged(texts: Iterable[str]) -> str:
    """Return the metrics of all texts together: counters and histograms added, gauges as their definitions say."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, _Labels], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            families.setdefault(family.name, family)
            known = values.setdefault(family.name, {})
            merge = _merge_of(family)
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                known[key] = merge(known[key], sample.value) if key in known else sample.value
    for name, family in families.items():
        family.samples = [Sample(sample, dict(labels), value) for (sample, labels), value in values[name].items()]
    return text_of(families.values())


def counts_of(text: str) -> str:
    """Return what remains true of a process that has ended: its counters and histograms."""
    return text_of(family for family in text_string_to_metric_families(text) if not _is_gauge(family))


def text_of(families: Iterable[Metric]) -> str:
    """Return metrics as the text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry).decode()


def _merge_of(family: Metric) -> Callable[[float, float], float]:
    # When a counter was created. The text shows it as a gauge.
    if family.name.endswith(_CREATED):
        return min
    return _known(_MERGES[_GAUGES.get(family.name, "sum")]) if family.type == "gauge" else add


def _known(merge: Callable[[float, float], float]) -> Callable[[float, float], float]:
    """Return a merge that leaves out a value that a process does not know (NaN)."""
    return lambda one, other: other if isnan(one) else one if isnan(other) else merge(one, other)


def _is_gauge(family: Metric) -> bool:
    return family.type == "gauge" and not family.name.endswith(_CREATED)


class _Families(Collector):
    """Metrics that are given, as a registry takes them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families
