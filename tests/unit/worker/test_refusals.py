"""What was refused or set aside: counted by code, and logged at a bounded rate."""

import structlog
from prometheus_client import CollectorRegistry

from schemas.kafka.source_record import Failure
from tests.support.outputs import breaker, event, operation
from tests.support.records import Source
from tests.support.times import T
from tests.support.world import World
from worker.fold.dead_letter import dead_letter
from worker.fold.refused import Refused
from worker.runtime.refusals import LINES, WINDOW_SECONDS, Refusals


def count(world: World, name: str, **labels: str) -> float | None:
    """Return a counter as it is scraped."""
    return world.worker.metrics.registry.get_sample_value(f"{name}_total", labels)


async def test_every_refusal_is_counted_by_code_and_type_and_named_in_the_log(world: World) -> None:
    """Also a repeated command, which its caller sees as done."""
    world.assign()
    late = world.clock.now() + 3_600_000
    world.log(breaker("acme", "open", occurred_at=late), operation("acme", "op-1"), operation("acme", "op-1"))
    with structlog.testing.capture_logs() as logs:
        await world.run()
    assert count(world, "sleep_worker_refusals", code="clock_skew", type="sleep.breaker.v1") == 1
    assert count(world, "sleep_worker_refusals", code="duplicate_operation", type="sleep.operation.v1") == 1
    skew, repeat = (entry for entry in logs if entry["event"] == "event_refused")
    assert (skew["code"], skew["tenant"], skew["position"]) == ("clock_skew", "acme", "0:0")
    assert skew["source"]
    assert "set the emitter's clock" in skew["reason"]
    assert (repeat["code"], repeat["tenant"]) == ("duplicate_operation", "acme")


async def test_every_dead_letter_is_counted_by_code_and_topic_and_is_logged(world: World) -> None:
    """The tenant is the record's key, and the source its place."""
    world.assign()
    world.log(event("sleep.unknown.v1", "acme"), event("sleep.breaker.v1", "acme"))
    with structlog.testing.capture_logs() as logs:
        await world.run()
    topic = world.topics.events
    assert count(world, "sleep_worker_set_aside", code="unknown_type", topic=topic) == 1
    assert count(world, "sleep_worker_set_aside", code="invalid_event", topic=topic) == 1
    first, _ = (entry for entry in logs if entry["event"] == "record_set_aside")
    assert (first["code"], first["tenant"], first["source"]) == ("unknown_type", "acme", f"{topic}:0:0")


async def test_a_batch_that_is_folded_again_counts_once(world: World) -> None:
    """Its commit was refused, so nothing of it had happened."""
    world.assign()
    world.store.faults.down.add("commit")
    world.log(breaker("acme", "open", occurred_at=world.clock.now() + 3_600_000), event("sleep.unknown.v1", "acme"))
    await world.advance(3)
    assert count(world, "sleep_worker_refusals", code="clock_skew", type="sleep.breaker.v1") == 0
    assert count(world, "sleep_worker_set_aside", code="unknown_type", topic=world.topics.events) is None
    world.store.faults.heal()
    await world.advance(3)
    assert count(world, "sleep_worker_refusals", code="clock_skew", type="sleep.breaker.v1") == 1
    assert count(world, "sleep_worker_set_aside", code="unknown_type", topic=world.topics.events) == 1


def test_a_flood_is_logged_in_part_and_says_how_much_is_left_out() -> None:
    """By code, so that a flood of one hides no other; the counters know all of it."""
    now = 0.0
    registry = CollectorRegistry()
    refusals = Refusals(registry, lambda: now)
    flood = [Refused("stale_event", "sleep.breaker.v1", f"t{number}", "urn:x", "0:1", "old") for number in range(1_000)]
    with structlog.testing.capture_logs() as logs:
        refusals.refused(flood)
        refusals.refused([flood[0]._replace(code="clock_skew")])
        now = WINDOW_SECONDS
        refusals.refused(flood[:2])
    stale = [entry for entry in logs if entry["code"] == "stale_event"]
    assert len(stale) == LINES + 2
    assert [entry.get("suppressed") for entry in stale[LINES:]] == [str(1_000 - LINES), None]
    assert len(logs) == len(stale) + 1
    labels = {"code": "stale_event", "type": "sleep.breaker.v1"}
    assert registry.get_sample_value("sleep_worker_refusals_total", labels) == 1_002


def test_no_byte_of_a_record_acts_on_the_log() -> None:
    """Keys, sources and messages are what others wrote; a traceback is shown by its last line."""
    refusals = Refusals(CollectorRegistry())
    with structlog.testing.capture_logs() as logs:
        refusals.set_aside([dead_letter(Source(0, T, b"\x1b[2J\xff", b"{"), Failure("wrong_key", "a\x9bb\u202e"))])
        refusals.set_aside(
            [dead_letter(Source(0, T, None, b"{"), Failure("fold_failed", "Trace\nKeyError", ours=True))]
        )
    assert (logs[0]["tenant"], logs[0]["reason"]) == ("\\x1b[2J\\xff", "a\\x9bb\\u202e")
    assert (logs[1]["tenant"], logs[1]["reason"]) == (None, "KeyError")


def test_no_label_names_a_tenant() -> None:
    """Their values are codes, types and topics, which do not grow."""
    registry = CollectorRegistry()
    refusals = Refusals(registry)
    for number in range(50):
        refusals.refused(
            [Refused("stale_event", "sleep.breaker.v1", f"tenant-{number}", f"urn:{number}", "0:1", "old")]
        )
        refusals.set_aside(
            [dead_letter(Source(number, T, b"k%d" % number, b"{"), Failure("undecodable", f"no {number}"))]
        )
    labels = {name for metric in registry.collect() for sample in metric.samples for name in sample.labels}
    assert labels == {"code", "type", "topic"}
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    assert not any("tenant-" in value or "k1" in value for sample in samples for value in sample.labels.values())
