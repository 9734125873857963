"""What time does: the clock, settling at its own time, holds, timers, retirement."""

from typing import Any

import pytest
from msgspec.structs import replace

from schemas.domain.schedule import Ramp
from schemas.domain.state import SleepState
from tests.support.events import Document, breaker, cancel, mode, pin, policy, sleep, timer
from tests.support.times import DAY, HOUR, MINUTE, SECOND, T
from tests.unit.worker.compared_tenant import Tenant
from worker.fold.fold import Folded

LEASE = 900 * SECOND


def test_the_clock_never_goes_back() -> None:
    """`now` is the later of the record's clock and the event's own time."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(sleep("op", "deep", SECOND), T - DAY)
    assert tenant.known.clock == T
    assert tenant.claim("operation", "op")["since"] == T
    assert tenant.known.at == T


def test_what_fell_due_happens_at_its_own_time_one_after_the_other() -> None:
    """Whenever it is noticed; each change is a row, and each sets `since`."""
    tenant = Tenant()
    tenant(sleep("a", "freeze", 10 * SECOND), T)
    tenant(sleep("b", "deep", 20 * SECOND), T)
    tenant(sleep("c", "light", 30 * SECOND), T)
    tenant(sleep("d", "light", 25 * SECOND), T)
    tenant(breaker("half_open"), T + HOUR)
    assert tenant.moves == [
        ("freeze", "deep", "expired", "a", T + 10 * SECOND),
        ("deep", "light", "expired", "b", T + 20 * SECOND),
        ("light", "active", "expired", "c", T + 30 * SECOND),
        ("active", "light", "breaker", "payments@1", T + HOUR),
    ]
    assert tenant.known.since == T + HOUR


def test_parameters_ramp_from_the_time_at_which_something_ended() -> None:
    """A late timer moves nothing but clock, position, `at` and version."""
    prompt, late = Tenant(), Tenant()
    for tenant, noticed in ((prompt, 10 * SECOND), (late, DAY)):
        tenant(sleep("a", "freeze", 10 * SECOND), T)
        tenant(timer(), T + noticed)
        assert tenant.known.ramp.starts_at == T + 10 * SECOND
    assert late.known == replace(prompt.known, clock=T + DAY, at=T + DAY)


def test_what_is_due_at_this_very_moment_is_settled() -> None:
    """A claim lives until just before its end."""
    tenant = Tenant()
    tenant(sleep("op", "deep", SECOND), T)
    tenant(cancel("stop", "op"), T + SECOND)
    assert tenant.codes == ["not_running"]
    assert tenant.state == "active"


@pytest.mark.parametrize(
    ("events", "key"),
    [
        ([sleep("b", "deep", SECOND), sleep("a", "deep", SECOND), sleep("c", "light", SECOND)], "a"),
        ([sleep("z", "freeze", SECOND), sleep("a", "deep", SECOND)], "z"),
        ([mode("m", "deep", SECOND), sleep("z", "deep", SECOND)], "mode"),
        ([sleep("a", "deep", SECOND), breaker("half_open", "zz@1"), breaker("half_open", "zz@0")], "a"),
        ([sleep("a", "light", SECOND), breaker("half_open", "zz@1"), breaker("half_open", "zz@0")], "zz@0"),
    ],
)
def test_the_deepest_of_those_that_end_together_gives_the_cause(events: list[Document], key: str) -> None:
    """By its own mapping; ties go to the smallest source, then key."""
    tenant = Tenant(document={"policy": {"breakers": [{"match": "*", "lease_seconds": 1}]}})
    for event in events:
        tenant(event, T)
    tenant(timer(), T + MINUTE)
    assert [move[2:] for move in tenant.moves] == [("expired", key, T + SECOND)]


def test_a_pin_that_ends_with_others_gives_the_cause() -> None:
    """Kind `pin_ended`, key `pin`."""
    tenant = Tenant()
    tenant(sleep("op", "freeze", SECOND), T)
    tenant(pin("p", "light", SECOND), T)
    tenant(timer(), T + MINUTE)
    assert tenant.moves == [("light", "active", "pin_ended", "pin", T + SECOND)]


def test_what_ends_behind_a_pin_changes_nothing() -> None:
    """It is dropped, which shows."""
    tenant = Tenant()
    tenant(sleep("op", "freeze", SECOND), T)
    tenant(pin("p", "light", MINUTE), T)
    tenant(timer(), T + SECOND)
    assert (tenant.moves, tenant.keys, tenant.last.published) == ([], ["pin"], True)


def test_a_hold_ends_by_itself() -> None:
    """Its time is the next deadline, and it is a cause of its own."""
    tenant = Tenant(document={"policy": {"min_sleep_seconds": 60}})
    tenant(breaker("open"), T)
    tenant(breaker("closed"), T + SECOND)
    assert (tenant.state, tenant.known.held_until, tenant.moves) == ("freeze", T + MINUTE, [])
    assert tenant.last.published
    assert tenant.document is not None
    assert tenant.document["next_deadline"] == T + MINUTE
    assert [(entry["at"], entry["state"]) for entry in tenant.document["forecast"]] == [(T + MINUTE, "active")]
    tenant(timer(), T + HOUR)
    assert tenant.moves == [("freeze", "active", "hold_ended", None, T + MINUTE)]
    assert tenant.known.held_until is None


def test_a_hold_ends_where_something_deep_comes() -> None:
    """The decision is no longer shallower."""
    tenant = Tenant(document={"policy": {"min_sleep_seconds": 60}})
    tenant(breaker("open"), T)
    tenant(breaker("closed"), T + SECOND)
    tenant(breaker("open"), T + 2 * SECOND)
    assert (tenant.known.held_until, tenant.known.since, tenant.moves) == (None, T, [])


def test_a_claim_that_ends_within_a_hold_is_held_until_the_hold_ends() -> None:
    """Two deadlines, one transition."""
    tenant = Tenant(document={"policy": {"min_sleep_seconds": 60}})
    tenant(sleep("op", "freeze", SECOND), T)
    tenant(timer(), T + SECOND)
    assert (tenant.state, tenant.known.held_until) == ("freeze", T + MINUTE)
    tenant(timer(), T + MINUTE)
    assert tenant.moves == [("freeze", "active", "hold_ended", None, T + MINUTE)]


def test_an_end_at_the_very_end_of_a_hold_gives_the_cause() -> None:
    """A dropped claim goes before the hold."""
    tenant = Tenant(document={"policy": {"min_sleep_seconds": 60}})
    tenant(sleep("deep", "freeze", SECOND), T)
    tenant(sleep("op", "light", MINUTE), T)
    tenant(timer(), T + HOUR)
    assert tenant.moves == [("freeze", "active", "expired", "op", T + MINUTE)]


HOLD: Document = {"min_sleep_seconds": 60}


@pytest.mark.parametrize(
    ("event", "decided", "moved"),
    [
        (policy("p", {**HOLD, "ceiling": "light"}), "light", ("freeze", "light", "policy", "policy", T + SECOND)),
        (pin("p", "light"), "light", ("freeze", "light", "pin", "pin", T + SECOND)),
        (policy("p", {**HOLD, "enforce": False}), "freeze", ("freeze", "freeze", "policy", "policy", T + SECOND)),
    ],
)
def test_a_hold_goes_against_no_ceiling_pin_or_dry_run(event: Document, decided: str, moved: tuple[Any, ...]) -> None:
    """It delays waking, and no person's decision."""
    tenant = Tenant(document={"policy": HOLD})
    tenant(breaker("open"), T)
    tenant(event, T + SECOND)
    assert (tenant.decided, tenant.known.held_until, tenant.moves) == (decided, None, [moved])
    tenant(breaker("closed"), T + SECOND)
    held = moved[2] == "policy" and decided == "light"
    assert tenant.known.held_until == (T + SECOND + MINUTE if held else None)


def test_there_is_no_hold_where_a_pin_was_the_cause() -> None:
    """What it decided ends with it."""
    tenant = Tenant(document={"policy": HOLD})
    tenant(pin("p", "freeze"), T)
    tenant(mode("off", "active", override=True), T + SECOND)
    assert (tenant.state, tenant.known.held_until) == ("active", None)


def test_there_is_no_hold_after_a_pin_that_ended_by_itself() -> None:
    """The record's cause is of kind `pin_ended`."""
    tenant = Tenant(document={"policy": HOLD})
    tenant(breaker("open"), T)
    tenant(pin("p", "active", SECOND), T)
    tenant(timer(), T + SECOND)
    assert tenant.state == "freeze"
    tenant(breaker("closed"), T + 2 * SECOND)
    assert (tenant.state, tenant.known.held_until) == ("active", None)


def test_a_pin_that_changed_nothing_leaves_the_hold_as_it_was() -> None:
    """The record's cause is still the breaker."""
    tenant = Tenant(document={"policy": HOLD})
    tenant(breaker("open"), T)
    tenant(pin("p", "freeze"), T)
    tenant(breaker("closed"), T + SECOND)
    tenant(mode("off", "active", override=True), T + 2 * SECOND)
    assert (tenant.state, tenant.known.held_until) == ("freeze", T + MINUTE)


def test_the_end_of_a_dry_run_holds_nothing() -> None:
    """What was decided in it was no sleep."""
    tenant = Tenant(document={"policy": HOLD})
    tenant(policy("p", {"enforce": False, "floor": "deep"}), T)
    tenant(policy("q", None), T + SECOND)
    assert (tenant.state, tenant.decided, tenant.known.held_until) == ("active", "active", None)


@pytest.mark.parametrize("by_rules", [False, True])
def test_no_hold_is_taken_where_state_differs_from_decided(by_rules: bool) -> None:  # noqa: FBT001
    """A dry run that ends with a minimum sleep must not send a tenant that was awake to the depth decided on paper."""
    tenant = Tenant(document={"policy": {"enforce": False}})
    tenant(breaker("open"), T)
    assert (tenant.state, tenant.decided) == ("active", "freeze")
    wet = HOLD | {"breakers": [{"match": "*", "open": "light"}]}
    if by_rules:
        tenant.follow({"policy": wet}, T + SECOND)
    tenant(timer() if by_rules else policy("p", wet), T + SECOND)
    assert (tenant.state, tenant.decided, tenant.known.held_until) == ("light", "light", None)


def test_a_longer_minimum_lengthens_a_hold_and_a_shorter_one_ends_it() -> None:
    """A hold is taken anew with each decision."""
    tenant = Tenant(document={"policy": HOLD})
    tenant(breaker("open"), T)
    tenant(breaker("closed"), T + SECOND)
    tenant(policy("p", {"min_sleep_seconds": 120}), T + 2 * SECOND)
    assert (tenant.state, tenant.known.held_until) == ("freeze", T + 2 * MINUTE)
    tenant(policy("q", {"min_sleep_seconds": 2}), T + 2 * SECOND)
    assert tenant.moves == [("freeze", "active", "policy", "policy", T + 2 * SECOND)]


def test_a_new_transition_cuts_a_ramp_short_without_a_jump() -> None:
    """It starts from the values reached, and the round trip ends at the very same numbers."""
    tenant = Tenant(document={"policy": {"ramp_seconds": {"deepen": 10, "wake": 10}}})
    tenant(breaker("open"), T)
    reached = tenant.known.ramp.at(T + 5 * SECOND)
    assert (reached.K, reached.B) == (50.5, 1.5)
    tenant(breaker("closed"), T + 5 * SECOND)
    assert tenant.known.ramp.start == reached
    assert tenant.known.ramp.at(T + 15 * SECOND) == tenant.terms.schedule[SleepState.active]


def test_a_policy_that_alters_the_present_set_ramps_without_a_transition() -> None:
    """The state did not change; a policy that alters another state's set moves nothing."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    wide: dict[str, dict[str, Any]] = {
        name: {"K": k, "t": 1, "tau": 1, "eta": 0, "lambda": 0, "B": 1}
        for name, k in (("active", 9), ("light", 8), ("deep", 7), ("freeze", 6))
    }
    tenant(policy("p", {"schedule": wide, "ramp_seconds": {"deepen": 1, "wake": 5}}), T + SECOND)
    ramp = tenant.known.ramp
    assert (tenant.moves, ramp.starts_at, ramp.ends_at, ramp.target.K) == ([], T + SECOND, T + 6 * SECOND, 6)
    other = {**wide, "active": {**wide["active"], "K": 100}}
    tenant(policy("q", {"schedule": other, "ramp_seconds": {"deepen": 1, "wake": 5}}), T + 2 * SECOND)
    assert tenant.known.ramp == ramp


def test_a_timer_on_time_wakes_the_tenant() -> None:
    """It publishes, and its rows are nobody's."""
    tenant = Tenant()
    tenant(sleep("op", "deep", SECOND), T)
    tenant(timer(T + SECOND), T + SECOND)
    assert tenant.moves == [("deep", "active", "expired", "op", T + SECOND)]
    assert tenant.last.published
    assert tenant.known.version == 2


@pytest.mark.parametrize("passed", [-DAY, 0, 1, 999])
def test_an_early_timer_leaves_the_record_as_it_is_clock_included(passed: int) -> None:
    """Firing twice is harmless."""
    tenant = Tenant()
    tenant(sleep("op", "deep", SECOND), T)
    before = tenant.known
    tenant(timer(), T + passed)
    assert tenant.known == before
    assert (tenant.last.published, tenant.last.rows, tenant.last.operations) == (False, (), ())


def test_a_timer_for_a_tenant_without_a_record_does_nothing() -> None:
    """No record, no tombstone."""
    tenant = Tenant()
    tenant(timer(), T)
    assert tenant.last == Folded(None, published=False)


def test_a_claim_that_means_active_is_dropped_in_passing() -> None:
    """Its end is no deadline of its own; any event that comes later drops it, which shows."""
    tenant = Tenant()
    tenant(breaker("closed"), T)
    assert tenant.document is not None
    assert tenant.document["next_deadline"] is None
    tenant(timer(), T + LEASE - 1)
    assert not tenant.last.published
    tenant(timer(), T + LEASE)
    assert (tenant.keys, tenant.last.published, tenant.last.rows) == ([], True, ())


def at_rest(retire_after: int = 60) -> Tenant:
    """Return a tenant that woke at `T`, its parameters at rest 30 s later."""
    tenant = Tenant(document={"retire_after_seconds": retire_after})
    tenant(sleep("op", "deep", SECOND), T - SECOND)
    tenant(timer(), T)
    assert tenant.state == "active"
    return tenant


@pytest.mark.parametrize(("passed", "gone"), [(MINUTE, False), (90 * SECOND - 1, False), (90 * SECOND, True)])
def test_a_tenant_at_rest_retires_after_its_time(passed: int, gone: bool) -> None:  # noqa: FBT001
    """Counted from the clock, `since` and the end of the ramp, whichever is last; no audit row."""
    tenant = at_rest()
    tenant(timer(), T + passed)
    assert (tenant.record is None) is gone
    assert tenant.last.published is gone
    assert tenant.last.rows == ()


def test_retiring_is_counted_from_the_clock_before_the_timer() -> None:
    """Else no tenant would ever retire."""
    tenant = at_rest()
    tenant(mode("off", "active"), T + HOUR)
    tenant(timer(), T + HOUR + 59 * SECOND)
    assert tenant.record is not None
    tenant(timer(), T + HOUR + MINUTE)
    assert tenant.record is None


def test_a_timer_that_settles_and_retires_writes_the_rows_and_the_tombstone() -> None:
    """A very late one: woken, at rest and retired at once."""
    tenant = Tenant()
    tenant(sleep("op", "deep", SECOND), T)
    tenant(timer(), T + 2 * DAY)
    assert (tenant.record, tenant.last.published) == (None, True)
    assert tenant.moves == [("deep", "active", "expired", "op", T + SECOND)]


@pytest.mark.parametrize(
    "event",
    [
        breaker("open"),
        mode("m", "light"),
        pin("p", "active", HOUR),
        policy("p", {}),
        policy("p", {"enforce": False, "floor": "light"}),
    ],
)
def test_what_keeps_a_tenant_keeps_its_record(event: Document) -> None:
    """A decision deeper than active, a pin, a policy, a claim deeper than active."""
    tenant = Tenant(document={"retire_after_seconds": 60})
    tenant(event, T)
    tenant(timer(), T + 10 * MINUTE)
    assert tenant.record is not None


def test_a_claim_without_a_quorum_keeps_the_record_of_a_tenant_that_is_awake() -> None:
    """It may still count; an idle one does not keep it."""
    document: Document = {"policy": {"breakers": [{"match": "a", "quorum": 2}]}, "retire_after_seconds": 60}
    tenant = Tenant(document=document)
    tenant(breaker("open", "a@1"), T)
    tenant(timer(), T + 2 * MINUTE)
    assert tenant.record is not None
    tenant(breaker("closed", "a@1"), T + 2 * MINUTE)
    tenant(timer(), T + 3 * MINUTE)
    assert tenant.record is None, "what means active does not keep it"


def test_a_tenant_whose_policy_was_cleared_is_kept() -> None:
    """Its version must not begin anew."""
    tenant = Tenant(document={"retire_after_seconds": 60})
    tenant(policy("p", {}), T)
    tenant(policy("q", None), T)
    tenant(timer(), T + DAY)
    assert tenant.known.policy_version == 2


def test_only_a_timer_retires() -> None:
    """Any other event is a sign of life."""
    tenant = at_rest()
    tenant(breaker("closed"), T + DAY)
    assert tenant.record is not None


def test_a_tenant_that_comes_back_begins_anew() -> None:
    """Version 1, no cause, `since` its first event's time."""
    tenant = at_rest()
    tenant(timer(), T + DAY)
    tenant(breaker("closed"), T + 2 * DAY)
    record = tenant.known
    assert (record.version, record.since, record.cause, record.policy_version) == (1, T + 2 * DAY, None, 0)
    assert record.ramp == Ramp(record.ramp.start, record.ramp.start, T + 2 * DAY, T + 2 * DAY)
