"""Checks a PromQL query against the list of metrics: names, labels, and the values of labels that have a list."""

import re
from collections.abc import Iterator
from typing import Final

from schemas.metrics.catalog import ALL
from schemas.metrics.definition import Definition, HistogramDefinition

_SERIES: Final[dict[str, Definition]] = {series: metric for metric in ALL.values() for series in metric.series}
_SELECTOR: Final = re.compile(r"\b(sleep_\w+)(?:\{([^}]*)\})?")
_MATCHER: Final = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING: Final = re.compile(r"\b(?:by|on|without)\s*\(([^)]*)\)")
TARGET_LABELS: Final = frozenset({"instance", "job"})
"""What Prometheus itself adds to each series."""


def series_of(query: str) -> set[str]:
    """Return the names of our time series in a query."""
    return {name for name, _ in _SELECTOR.findall(query)}


def wrong_parts(query: str) -> list[str]:
    """Return each name, label and value of a query that no metric has."""
    return [*_wrong_selectors(query), *_wrong_groupings(query)]


def _wrong_selectors(query: str) -> Iterator[str]:
    for name, matchers in _SELECTOR.findall(query):
        metric = _SERIES.get(name)
        if metric is None:
            yield f"no metric has the series {name}"
            continue
        labels = {label.name: label.values for label in metric.labels}
        if name.endswith("_bucket") and isinstance(metric, HistogramDefinition):
            labels["le"] = (*(str(float(bound)) for bound in metric.buckets), "+Inf")
        for label, operator, value in _MATCHER.findall(matchers):
            if label not in labels.keys() | TARGET_LABELS:
                yield f"{name} has no label {label}"
            elif operator in ("=", "!=") and labels.get(label) and value not in labels[label]:
                yield f"{name}: the label {label} is never {value}"


def _wrong_groupings(query: str) -> Iterator[str]:
    known = {label for name in series_of(query) & _SERIES.keys() for label in _SERIES[name].label_names}
    for grouping in _GROUPING.findall(query):
        for label in filter(None, map(str.strip, grouping.split(","))):
            if label not in known | TARGET_LABELS | {"le"}:
                yield f"no metric of the query has the label {label}"
