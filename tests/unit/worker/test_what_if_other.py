"""A replay under other rules or another policy: examples that were worked out by hand."""

from typing import Any

from schemas.domain.policy import parse_policy
from tests.support.events import breaker, cancel, mode, policy, rules, sleep, timer
from tests.support.records import Source, source
from tests.support.times import MINUTE, SECOND, T
from tests.unit.worker.replays import folded, range_of, replayed
from worker.recovery.what_if.effects import Effect
from worker.recovery.what_if.partition import PartitionReplay
from worker.recovery.what_if.scenario import Alternative
from worker.recovery.what_if.state_changes import StateChange

DEEP_AT_MOST = {"policy": {"breakers": [{"match": "*", "open": "deep"}]}}


def log_at(*events: tuple[float, dict[str, Any]]) -> list[Source]:
    """Return a log of events, each with its seconds after T."""
    return [source(offset, T + round(after * SECOND), document) for offset, (after, document) in enumerate(events)]


def under(log: list[Source], first: int, until: float, *tenants: str, **other: Any) -> PartitionReplay:  # noqa: ANN401
    """Return the replay from a record of a log on until so many seconds after T, under other rules or a policy."""
    document = other.get("policy")
    alternative = Alternative(other.get("rules"), None if document is None else parse_policy(document))
    range_ = range_of(log, first, to_at=T + round(until * SECOND))
    return replayed(log, range_, folded(log), alternative=alternative, tenants=tenants or None)


def seconds(effect: Effect) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the seconds light, deep and freeze of each side."""
    recorded, replayed_ = effect.recorded.seconds(), effect.replayed.seconds()
    return tuple(recorded.values()), tuple(replayed_.values())


def only(replay: PartitionReplay, side: str) -> list[tuple[str, float, str, str, str]]:
    """Return the changes of one side only: tenant, seconds after T, from, to and kind of cause."""
    changes = [change for change in replay.effects.changes if change.side == side]
    return [
        (each.tenant, (each.change.at - T) / SECOND, each.change.before, each.change.after, each.change.kind)
        for each in changes
    ]


def test_another_policy_gives_what_was_worked_out_by_hand() -> None:
    """It cuts at deep, holds for 80 s, and ignores every breaker but payments."""
    log = log_at(
        (0, breaker("open")),
        (60, breaker("half_open")),
        (90, breaker("closed")),
        (100, sleep("op-1", "deep", MINUTE)),
        (200, breaker("open", "search@1")),
    )
    ignore = {"match": "*", "open": "active", "half_open": "active"}
    replay = under(
        log,
        0,
        1_200,
        "acme",
        policy={"ceiling": "deep", "min_sleep_seconds": 80, "breakers": [{"match": "payments"}, ignore]},
    )
    effect = replay.effects.tenants["acme"]
    # Recorded: freeze 0-60, light 60-90, deep 100-160, freeze 200-1100, where the lease of search ends.
    # Replayed: deep 0-80 by the hold, light 80-100 by the next hold, deep 100-180 by the last one.
    assert seconds(effect) == ((30.0, 60.0, 960.0), (20.0, 160.0, 0.0))
    assert (effect.recorded.transitions, effect.replayed.transitions) == (7, 4)
    assert only(replay, "replayed") == [
        ("acme", 0, "active", "deep", "breaker"),
        ("acme", 80, "deep", "light", "hold_ended"),
        ("acme", 100, "light", "deep", "operation"),
        ("acme", 180, "deep", "active", "hold_ended"),
    ]
    assert (replay.audit.differences, replay.inexact()) == (0, {})


def test_other_rules_give_what_was_worked_out_by_hand() -> None:
    """They are in force from the beginning of the range on, and replace those that came in it."""
    log = log_at(
        (0, breaker("open")),
        (10, breaker("open", tenant="bolt")),
        (20, rules({"policy": {"ceiling": "light"}})),
        (20, timer()),
        (20, timer(tenant="bolt")),
        (50, breaker("closed")),
    )
    replay = under(log, 1, 100, rules=DEEP_AT_MOST)
    acme, bolt = replay.effects.tenants["acme"], replay.effects.tenants["bolt"]
    assert seconds(acme) == ((30.0, 0.0, 10.0), (0.0, 40.0, 0.0))
    assert seconds(bolt) == ((80.0, 0.0, 10.0), (0.0, 90.0, 0.0))
    assert only(replay, "replayed") == [
        ("acme", 10, "freeze", "deep", "rules"),
        ("bolt", 10, "active", "deep", "breaker"),
        ("acme", 50, "deep", "active", "breaker"),
    ]
    assert (acme.recorded.transitions, bolt.recorded.transitions) == (2, 2)
    assert replay.audit.differences == 0


def test_the_same_rules_as_recorded_make_no_difference() -> None:
    """A lease that ended before the range, which its first event of the tenant notices, is no part of it."""
    log = log_at(
        (0, rules(DEEP_AT_MOST)),
        (1, breaker("open")),
        (2, sleep("op-1", "light", 2_000 * SECOND)),
        (1_000, breaker("open", tenant="bolt")),
        (1_100, timer()),
    )
    replay = under(log, 3, 1_200, rules=DEEP_AT_MOST)
    effect = replay.effects.tenants["acme"]
    assert (effect.differs, effect.recorded.transitions, effect.replayed.transitions) == (False, 0, 0)
    assert seconds(effect) == ((200.0, 0.0, 0.0), (200.0, 0.0, 0.0))


def test_a_policy_passes_over_later_policies() -> None:
    """They are neither applied nor refused, and the recorded side has them."""
    log = log_at((0, breaker("open")), (10, policy("p-1", {"floor": "light"})), (20, breaker("closed")))
    replay = under(log, 1, 60, "acme", policy={})
    effect = replay.effects.tenants["acme"]
    assert seconds(effect) == ((40.0, 0.0, 10.0), (0.0, 0.0, 10.0))
    assert (effect.recorded.refusals, effect.replayed.refusals) == (0, 0)


def test_a_policy_counts_for_a_tenant_that_has_no_record_yet() -> None:
    """Its floor puts the tenant to sleep at the beginning of the range."""
    log = log_at((0, breaker("open", tenant="bolt")), (10, breaker("open", tenant="bolt")), (20, breaker("closed")))
    replay = under(log, 1, 60, "acme", policy={"floor": "light"})
    assert seconds(replay.effects.tenants["acme"]) == ((0.0, 0.0, 0.0), (50.0, 0.0, 0.0))
    assert list(replay.effects.tenants) == ["acme"]


def test_commands_that_another_policy_refuses_are_counted() -> None:
    """A shorter longest TTL refuses a sleep that was accepted."""
    log = log_at((0, breaker("closed")), (10, sleep("op-1")), (20, cancel("c-1", "op-1")))
    effect = under(log, 1, 30, "acme", policy={"max_ttl_seconds": 1}).effects.tenants["acme"]
    assert (effect.recorded.refusals, effect.replayed.refusals) == (0, 2)
    assert seconds(effect) == ((0.0, 10.0, 0.0), (0.0, 0.0, 0.0))


def test_an_operation_from_before_the_range_is_known_by_its_claim() -> None:
    """Its repeat in the range is a repeat, though the log's beginning is gone."""
    log = log_at(
        (0, policy("p-1", {"max_ttl_seconds": 86_400})),
        (1, sleep("op-1", "light", 80_000 * SECOND)),
        (20_000, mode("m-1", "light")),
        (20_001, sleep("op-1", "light", 80_000 * SECOND)),
    )
    left = log[2:]
    replay = replayed(left, range_of(left, 0), folded(log, 1))
    assert (replay.audit.matched, replay.audit.differences, replay.inexact()) == (2, 0, {})
    assert replay.effects.tenants["acme"].recorded.refusals == 1


def test_a_tenant_without_an_event_in_the_range_is_counted() -> None:
    """It sleeps all the time, and other rules wake it."""
    log = log_at(
        (0, breaker("forced_open")), (10, breaker("open", tenant="bolt")), (20, breaker("open", tenant="bolt"))
    )
    replay = under(log, 1, 40, rules={"policy": {"ceiling": "active"}})
    assert seconds(replay.effects.tenants["acme"]) == ((0.0, 0.0, 30.0), (0.0, 0.0, 0.0))
    assert only(replay, "replayed") == [("acme", 10, "freeze", "active", "rules")]


def test_everything_is_settled_at_the_end() -> None:
    """A lease that ends before it counts, though no event has noticed that; one that ends later does not."""
    log = log_at((0, breaker("open")), (10, breaker("open", tenant="bolt")))
    replay = under(log, 0, 905)
    assert replay.effects.tenants["acme"].recorded.seconds()["freeze"] == 900.0
    assert replay.effects.tenants["bolt"].recorded.seconds()["freeze"] == 895.0
    assert replay.effects.tenants["acme"].recorded.transitions == 2


def test_a_dry_run_counts_no_time_asleep() -> None:
    """Its changes are counted, as changes that were not enforced."""
    log = log_at((0, breaker("closed")), (10, breaker("open")))
    replay = under(log, 1, 20, "acme", policy={"enforce": False})
    assert seconds(replay.effects.tenants["acme"]) == ((0.0, 0.0, 10.0), (0.0, 0.0, 0.0))
    [change] = [change for change in replay.effects.changes if change.side == "replayed"]
    assert change.change == StateChange(
        at=T + 10 * SECOND, before="active", after="freeze", enforced=False, kind="breaker", key="payments@1"
    )
