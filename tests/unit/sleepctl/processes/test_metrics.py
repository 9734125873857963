"""The metrics of several processes as one text."""

from math import isnan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.observability.metrics import Metrics as ApiMetrics
from sleepctl.processes.metrics import counts_of, merged


def text(events: float, open_: float, seconds: float) -> str:
    """Return the metrics of a process: a counter, a gauge and a histogram."""
    registry = CollectorRegistry()
    Counter("events", "Events.", ["type"], registry=registry).labels("a").inc(events)
    Gauge("open", "Open.", registry=registry).set(open_)
    Histogram("seconds", "Time.", registry=registry, buckets=(1, 2)).observe(seconds)
    return generate_latest(registry).decode()


def value(metrics: str, name: str, **labels: str) -> float:
    """Return the one sample with this name and these labels."""
    [found] = [
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if (sample.name, sample.labels) == (name, labels)
    ]
    return found


def test_counters_histograms_and_gauges_are_added() -> None:
    """Each bucket by itself."""
    whole = merged([text(2, 3, 0.5), text(5, 4, 1.5)])
    assert value(whole, "events_total", type="a") == 7
    assert value(whole, "open") == 7
    assert [value(whole, "seconds_bucket", le=le) for le in ("1.0", "2.0", "+Inf")] == [1, 2, 2]
    assert (value(whole, "seconds_sum"), value(whole, "seconds_count")) == (2.0, 2)


def test_one_process_alone_has_its_own_text() -> None:
    """Whatever was written can be read."""
    metrics = ApiMetrics()
    metrics.request('/a"\\\n', "GET", 200, 0.1)
    alone = metrics.render().decode()
    assert merged([alone]) == alone


def test_a_counter_s_age_is_that_of_the_oldest_process() -> None:
    """Not a sum of times."""
    first, second = text(1, 1, 1), text(1, 1, 1)
    age = value(first, "events_created", type="a")
    assert value(merged([second, first]), "events_created", type="a") == age


def test_a_dependency_is_up_if_it_is_up_for_all_processes() -> None:
    """And a partition that all see standing still is one."""
    texts = [
        f"# TYPE sleep_api_dependency_up gauge\nsleep_api_dependency_up {up}\n"
        f"# TYPE sleep_api_standing_partitions gauge\nsleep_api_standing_partitions {standing}\n"
        for up, standing in ((1, 2), (0, 2))
    ]
    whole = merged(texts)
    assert value(whole, "sleep_api_dependency_up") == 0
    assert value(whole, "sleep_api_standing_partitions") == 2


def test_of_a_process_that_has_ended_only_counts_remain() -> None:
    """Nothing of it is open any more."""
    whole = merged([counts_of(text(2, 3, 0.5)), text(5, 4, 1.5)])
    assert value(whole, "events_total", type="a") == 7
    assert value(whole, "seconds_count") == 2
    assert value(whole, "open") == 4
    assert "events_created" in counts_of(text(2, 3, 0.5))


def test_a_value_that_one_process_does_not_know_is_that_of_the_others() -> None:
    """A process without Redis must not hide what the others see."""
    texts = [f"# TYPE sleep_api_partitions gauge\nsleep_api_partitions {number}\n" for number in ("NaN", "8", "NaN")]
    assert value(merged(texts), "sleep_api_partitions") == 8
    assert isnan(value(merged(texts[:1]), "sleep_api_partitions"))
