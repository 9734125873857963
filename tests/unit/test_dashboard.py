"""The dashboard of Grafana: its queries ask for metrics that there are, and each metric is on it."""

import re
from itertools import combinations
from typing import Final

import pytest

from schemas.metrics.catalog import ALL
from tests.support.dashboard import Panel, Place, shipped
from tests.support.queries import series_of, wrong_parts

DASHBOARD: Final = shipped()
GRAPHS: Final = [panel for panel in DASHBOARD.panels if panel.type != "row"]
_SHOWN_LABEL: Final = re.compile(r"\{\{(\w+)\}\}")


def overlap(one: Place, other: Place) -> bool:
    """Tell whether two panels cover each other."""
    return (
        one.x < other.x + other.w and other.x < one.x + one.w and one.y < other.y + other.h and other.y < one.y + one.h
    )


@pytest.mark.parametrize("query", DASHBOARD.queries)
def test_a_query_asks_for_metrics_that_there_are(query: str) -> None:
    """Names, labels, and values of labels."""
    assert series_of(query)
    assert wrong_parts(query) == []


@pytest.mark.parametrize("panel", GRAPHS, ids=lambda panel: panel.title)
def test_a_panel_says_what_it_shows(panel: Panel) -> None:
    """In one sentence, from the data source that the reader chose; each query has a reference of its own."""
    assert panel.description.endswith(".")
    assert panel.datasource["uid"] == "${datasource}"
    assert panel.targets
    assert len({target.ref for target in panel.targets}) == len(panel.targets)


@pytest.mark.parametrize("panel", GRAPHS, ids=lambda panel: panel.title)
def test_a_legend_names_labels_that_the_query_keeps(panel: Panel) -> None:
    """Else each line would have the same name."""
    for target in panel.targets:
        kept = {
            label.strip() for grouping in re.findall(r"\bby \(([^)]*)\)", target.expr) for label in grouping.split(",")
        }
        aggregated = re.search(r"\b(?:sum|min|max)\b", target.expr)
        assert set(_SHOWN_LABEL.findall(target.legend)) <= (kept if aggregated else {"instance"})


def test_every_metric_is_on_the_dashboard() -> None:
    """A metric that nobody looks at is not worth its series."""
    shown = {series for query in DASHBOARD.queries for series in series_of(query)}
    assert [name for name, metric in ALL.items() if not shown & set(metric.series)] == []


def test_the_panels_fit_the_grid() -> None:
    """None covers another one or leaves the 24 columns, and each has a number of its own."""
    assert [one.title for one in DASHBOARD.panels if one.place.x + one.place.w > 24] == []
    pairs = combinations(DASHBOARD.panels, 2)
    assert [(one.title, other.title) for one, other in pairs if overlap(one.place, other.place)] == []
    assert len({panel.id for panel in DASHBOARD.panels}) == len(DASHBOARD.panels)


def test_panels_that_cover_each_other_are_noticed() -> None:
    """By one column or one row."""
    assert overlap(Place(0, 0, 8, 8), Place(7, 7, 8, 8))
    assert not overlap(Place(0, 0, 8, 8), Place(8, 0, 8, 8))
