"""Makes one text of metrics of those of several processes."""

from collections.abc import Callable, Iterable, Iterator
from operator import add
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_Labels = tuple[tuple[str, str], ...]

GAUGES: Final[dict[str, Callable[[float, float], float]]] = {
    "sleep_api_dependency_up": min,
    # Each process sees the same partitions.
    "sleep_api_standing_partitions": max,
}
"""How the gauges of two processes become one, by name. Those of all other gauges are added."""
_CREATED: Final = "_created"


def merged(texts: Iterable[str]) -> str:
    """Return the metrics of all texts together: counters and histograms added, gauges by `GAUGES`."""
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
    return GAUGES.get(family.name, add) if family.type == "gauge" else add


def _is_gauge(family: Metric) -> bool:
    return family.type == "gauge" and not family.name.endswith(_CREATED)


class _Families(Collector):
    """Metrics that are given, as a registry takes them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families
