"""How a metric is defined: its name, its meaning, and labels whose values are bounded."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Merge = Literal["sum", "min", "max"]
"""How the gauges of several processes of one command become one."""
_TOTAL: Final = "_total"


class Label(NamedTuple):
    """A label. The number of its values has a bound, so no label holds a tenant, an id or a text of a caller.

    Attributes:
        name: as Prometheus shows it.
        values: all values that it may have; empty if `bound` says which they are.
        bound: which values there are, for people.
    """

    name: str
    values: tuple[str, ...] = ()
    bound: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric.

    Attributes:
        name: as `/metrics` shows it. The name of a counter ends with `_total`.
        meaning: one sentence or two, for people. Prometheus shows it as the help text.
        labels: the labels, in the order in which values are given.
    """

    name: str
    meaning: str
    labels: tuple[Label, ...] = ()
    kind: ClassVar[str]

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels."""
        return tuple(label.name for label in self.labels)

    @property
    def family(self) -> str:
        """The name under which `prometheus_client` collects the metric: that of a counter has no `_total`."""
        return self.name.removesuffix(_TOTAL)

    @property
    def series(self) -> tuple[str, ...]:
        """The names of the time series that Prometheus stores."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class CounterDefinition(Definition):
    """A number that only grows. Those of several processes are added."""

    kind: ClassVar[str] = "counter"

    def register(self, registry: CollectorRegistry) -> Counter:
        """Return a new counter in a registry."""
        return Counter(self.name, self.meaning, self.label_names, registry=registry)


@dataclass(frozen=True, slots=True)
class GaugeDefinition(Definition):
    """A present value. `merge` says how those of several processes become one."""

    merge: Merge = "sum"
    kind: ClassVar[str] = "gauge"

    def register(self, registry: CollectorRegistry) -> Gauge:
        """Return a new gauge in a registry."""
        return Gauge(self.name, self.meaning, self.label_names, registry=registry)


@dataclass(frozen=True, slots=True)
class HistogramDefinition(Definition):
    """A distribution. `buckets` are the upper bounds, without infinity, in the unit of the name."""

    buckets: tuple[float, ...] = ()
    kind: ClassVar[str] = "histogram"

    @property
    def series(self) -> tuple[str, ...]:
        """The names of the time series that Prometheus stores."""
        return tuple(f"{self.name}{suffix}" for suffix in ("_bucket", "_sum", "_count"))

    def register(self, registry: CollectorRegistry) -> Histogram:
        """Return a new histogram in a registry."""
        return Histogram(self.name, self.meaning, self.label_names, registry=registry, buckets=self.buckets)
