"""What the gate counts. No label holds a tenant."""

from typing import TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from sleep_client.gate import checking, ofrep
from sleep_client.reading.session import ReaderStatus

_Result = TypeVar("_Result", bound=str)


class Metrics:
    """The counters of one gate."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.checks: dict[checking.Outcome, Counter] = self._counters(
            "sleep_gate_checks", "Requests of the proxy, by result.", get_args(checking.Outcome)
        )
        self.evaluations: dict[ofrep.Outcome, Counter] = self._counters(
            "sleep_gate_evaluations", "Requests of OpenFeature clients, by result.", get_args(ofrep.Outcome)
        )
        self._status = Gauge(
            "sleep_gate_reader_status",
            "1 for the status that the reader has, else 0.",
            ["status"],
            registry=self._registry,
        )

    def _counters(self, name: str, meaning: str, results: tuple[_Result, ...]) -> dict[_Result, Counter]:
        counter = Counter(name, meaning, ["result"], registry=self._registry)
        # All from the start, so that a rate has a zero to begin at.
        return {result: counter.labels(result) for result in results}

    def page(self, status: ReaderStatus) -> bytes:
        """Return the page for Prometheus."""
        for each in ReaderStatus:
            self._status.labels(each.value).set(each is status)
        return generate_latest(self._registry)
