"""Reads the dashboard of Grafana as far as the tests need it."""

from pathlib import Path
from typing import Final

import msgspec

FILE: Final = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "somabrain-sleep.json"


class Place(msgspec.Struct, frozen=True):
    """Where a panel is: columns and rows of a grid with 24 columns."""

    x: int
    y: int
    w: int
    h: int


class Target(msgspec.Struct):
    """A query of a panel."""

    expr: str
    legend: str = msgspec.field(name="legendFormat")
    ref: str = msgspec.field(name="refId")


class Panel(msgspec.Struct):
    """A panel, or the title of a row of panels."""

    id: int
    type: str
    title: str
    place: Place = msgspec.field(name="gridPos")
    description: str = ""
    targets: list[Target] = msgspec.field(default_factory=list)
    datasource: dict[str, str] = msgspec.field(default_factory=dict)


class Dashboard(msgspec.Struct):
    """The dashboard."""

    uid: str
    title: str
    panels: list[Panel]

    @property
    def queries(self) -> list[str]:
        """All queries, as Prometheus gets them from Grafana with a scrape interval of 15 s."""
        return [target.expr.replace("$__rate_interval", "1m") for panel in self.panels for target in panel.targets]


def shipped() -> Dashboard:
    """Return the dashboard that is shipped."""
    return msgspec.json.decode(FILE.read_bytes(), type=Dashboard)
