"""Verifying: nothing differs where all was done right, and each thing that is wrong is named with its tenant."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from schemas.names import OPERATION_KEPT_MS
from schemas.operation import OperationRecord
from schemas.policy import parse_rules
from schemas.progress import Progress
from schemas.record import pack
from tests.oracle import commands_of
from tests.unit.worker.batches import Lane, apply_all, failing_at, logs
from tests.unit.worker.build import MINUTE, Source, T, breaker, mode, rules, sleep
from tests.unit.worker.rebuilds import compacted, log_of, set_aside, topic
from worker.ports import Index
from worker.recovery.audit import Audit
from worker.recovery.found import Found
from worker.recovery.history import History
from worker.recovery.verify import Difference, Verification
from worker.start import checksum


def verification(
    lane: Lane, log: Sequence[Source], *, start: int = 0, states: Sequence[Source] | None = None, cut: int | None = None
) -> Verification:
    """Return a verification that has read what a lane published, and the log from an offset on."""
    end = log[-1].offset + 1 if cut is None else cut
    aside = set_aside(lane.dead_letters)
    history, audit = History(0, 1, before=end, settled=start, aside=aside), Audit(0, end, aside)
    for record in topic(lane.states) if states is None else states:
        history.read(record)
    for record in topic(lane.transitions) if start or aside else []:
        audit.read(record)
    found = Verification(0, 1, Found(history, audit, start, end, end, aside))
    found.fold.read([record for record in log if start <= record.offset < end])
    return found


def redis(verified: Verification, lane: Lane) -> list[Difference]:
    """Return what differs in a lane's store."""
    return verified.redis(sorted(verified.tenants() | lane.packed.keys()), lane.packed, lane.rules)


def index(lane: Lane) -> Index:
    """Return what a lane's store holds beside its records."""
    timers = {tenant: item.due for tenant, item in lane.written.items() if item.due is not None}
    return Index(timers, lane.counts, {tenant for tenant, open_ended in lane.open_ended.items() if open_ended})


def stated(states: Sequence[Source], start: int) -> set[bytes | None]:
    """Return the keys that have a state from this offset of the log on."""
    documents = [(record.key, json.loads(record.value or b"{}")) for record in states]
    return {key for key, found in documents if found and int(found["position"].partition(":")[2]) >= start}


def ids_of(log: Sequence[Source], offsets: range) -> set[tuple[str, str]]:
    """Return tenant and id of the commands at these offsets."""
    return set(commands_of([record for record in log if record.offset in offsets]))


def progress(lane: Lane, last: Source) -> Progress:
    """Return a lane's progress behind a record."""
    crc = checksum(last.key, last.value)
    return Progress(last.offset + 1, last.timestamp, crc, None, len(lane.packed), lane.rules, 0, None, 1)


@given(logs(), st.booleans(), st.integers(0, 40))
def test_nothing_differs_where_a_lane_did_all_of_it(log: list[Source], compacts: bool, cut: int) -> None:  # noqa: FBT001
    """With the whole log or a part of it, with every state that was published or the last ones."""
    lane = apply_all(log)
    states = compacted(topic(lane.states)) if compacts else topic(lane.states)
    start = log[cut].offset if 0 < cut < len(log) else 0
    verified = verification(lane, log, start=start, states=states)
    # What a renewal before the log's start left unpublished (a clock, say) may have made the next event another one.
    unsure = {record.key.decode() for record in states if record.key and record.key not in stated(states, start)}
    # Nor does a row tell a TTL, up to whose end and an hour longer a command's id is known.
    gone, left = (ids_of(log, part) for part in (range(start), range(start, log[-1].offset + 1)))
    unsure |= {tenant for tenant, _ in gone & left}
    assert [found for found in [*redis(verified, lane), *verified.states()] if found.tenant not in unsure] == []
    assert list(verified.progress(progress(lane, log[-1]), len(lane.packed))) == []
    assert verified.index(sorted(lane.written), lane.packed, lane.rules, index(lane)) == []
    if not unsure:
        assert verified.counts(index(lane)) == []
    keys = verified.fold.operations.keys() & lane.operations.keys()
    assert verified.operations({key: lane.operations[key] for key in keys if key[0] not in unsure}) == {}


def test_a_record_that_is_not_the_folds_is_named_with_its_fields() -> None:
    """What the log says, and what was found."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    record = lane.record("acme")
    assert record is not None
    lane.packed["acme"] = pack(record._replace(version=9), lane.rules[0].terms.schedule)
    assert redis(verification(lane, log), lane) == [Difference(0, "acme", "redis", "differs", {"version": (1, 9)})]


def test_a_record_that_is_missing_or_too_much_or_damaged_is_named() -> None:
    """Each with its tenant."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"), breaker("open", tenant="corp"))
    lane = apply_all(log)
    verified = verification(lane, log)
    lane.packed["dora"] = lane.packed.pop("acme")
    lane.packed["bolt"] = lane.packed["bolt"][:-1]
    found = {difference.tenant: difference.what for difference in redis(verified, lane)}
    assert found.keys() == {"acme", "bolt", "dora"}
    assert found["bolt"].startswith("cannot be read:")
    assert (found["acme"], found["dora"]) == ("is missing", "should not be there")


def test_with_the_whole_log_even_a_clock_is_compared_and_without_it_is_not() -> None:
    """What a renewal leaves unpublished is nowhere but in Redis then."""
    log = log_of(mode("m-1", "deep"), mode("m-2", "deep"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    record = lane.record("acme")
    assert record is not None
    lane.packed["acme"] = pack(record._replace(clock=record.clock + 1), lane.rules[0].terms.schedule)
    [difference] = redis(verification(lane, log), lane)
    assert difference.fields == {"clock": (record.clock, record.clock + 1)}
    assert redis(verification(lane, log, start=1), lane) == []


def test_a_state_that_is_not_what_was_published_is_named() -> None:
    """A stale owner's late append, and a tenant that the topic lost."""
    log = log_of(breaker("open"), breaker("closed"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    states = topic(lane.states)
    stale = verification(lane, log, states=[*states, states[0]]).states()
    assert [(found.tenant, found.where, found.what) for found in stale] == [("acme", "states", "differs")]
    assert stale[0].fields["state"] == ("active", "freeze")
    lost = verification(lane, log, states=states[:2]).states()
    assert [(found.tenant, found.what) for found in lost] == [("bolt", "is missing")]


def test_a_tenant_ahead_of_redis_is_not_compared_with_the_topic() -> None:
    """A worker publishes before it commits."""
    log = log_of(breaker("open"), breaker("closed"))
    lane, ahead = apply_all(log[:1]), apply_all(log)
    verified = verification(lane, log, states=compacted(topic(ahead.states)), cut=1)
    assert verified.states() == []
    assert redis(verified, lane) == []


def test_a_state_from_where_the_log_has_not_come_is_named() -> None:
    """Somebody else wrote it: a worker may be ahead of what was looked at, and never of the log."""
    log = log_of(breaker("open"), breaker("half_open"), breaker("closed"))
    verified = verification(apply_all(log[:1]), log, states=topic(apply_all(log).states), cut=1)
    assert verified.from_the_future(3) == []
    [found] = verified.from_the_future(2)
    assert (found.tenant, found.where, found.what) == ("acme", "states", "is from the future")
    assert found.fields == {"position": ("before 2", 2)}


def test_how_far_states_were_published_beyond_the_cut_is_known() -> None:
    """What nobody can have folded yet aside."""
    log = log_of(breaker("open"), breaker("half_open"), breaker("closed", tenant="bolt"))
    states = topic(apply_all(log).states)
    assert verification(apply_all(log), log, states=states).published(3) is None
    verified = verification(apply_all(log[:1]), log, states=states, cut=1)
    assert (verified.published(3), verified.published(2)) == (2, 1)


def test_rules_that_were_published_beyond_the_cut_are_known_without_any_tenant() -> None:
    """Every partition is told of them, also one that has no tenants."""
    log = log_of(rules({"retire_after_seconds": 60}))
    verified = verification(apply_all([]), log, states=topic(apply_all(log).states), cut=0)
    assert verified.published(1) == 0


def test_a_tenant_that_moved_is_right_once_the_log_is_read_on() -> None:
    """The fold follows to where Redis stands then."""
    log = log_of(breaker("open"), breaker("closed"))
    verified = verification(apply_all(log[:1]), log, cut=1)
    lane = apply_all(log)
    assert [found.tenant for found in redis(verified, lane)] == ["acme"]
    verified.fold.read(log[1:])
    assert redis(verified, lane) == []


def test_what_stands_beside_a_record_is_compared_with_it() -> None:
    """By the record in Redis where it can be read: one that is wrong is named already."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    record = lane.record("acme")
    assert record is not None
    claims = {key: claim._replace(expires_at=None) for key, claim in record.claims.items()}
    lane.packed["acme"] = pack(record._replace(claims=claims), lane.rules[0].terms.schedule)
    found = verification(lane, log).index(["acme", "bolt"], lane.packed, lane.rules, index(lane))
    assert [(difference.tenant, difference.what) for difference in found] == [("acme", "timer"), ("acme", "open_ended")]


def test_what_stands_beside_a_record_that_cannot_be_read_is_compared_with_the_log() -> None:
    """So that only the record is named."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    beside = index(lane)
    lane.packed = {"acme": b"?"}
    assert verification(lane, log).index(["acme", "bolt"], lane.packed, lane.rules, beside) == []


def test_a_command_that_is_not_as_it_was_judged_is_named() -> None:
    """With what the log says, and what was found; the wording of a refusal and what a rebuild lacks are left out."""
    log = log_of(sleep("op-1"))
    lane = apply_all(log)
    verified = verification(lane, log)
    operation = OperationRecord.unpack(lane.operations["acme", "op-1"])
    untold = operation._replace(detail="worded", trace_id=None, target_state=None, expires_at=None)
    assert verified.operations({("acme", "op-1"): untold.pack()}) == {}
    wrong = operation._replace(code="too_late", refused=True)
    [difference] = verified.operations({("acme", "op-1"): wrong.pack()}).values()
    assert difference.what == "operation op-1 differs"
    assert difference.fields == {"refused": (False, True), "code": (None, "too_late")}


def test_a_command_whose_key_may_have_gone_by_itself_is_not_looked_for() -> None:
    """Nine days after its end, and the clocks may differ by some."""
    log = log_of(sleep("op-1", "deep", MINUTE))
    verified = verification(apply_all(log), log)
    gone = T + MINUTE + OPERATION_KEPT_MS
    assert verified.remembered(gone - 3 * MINUTE) == [("acme", "op-1")]
    assert verified.remembered(gone - MINUTE) == []


def test_a_record_that_was_set_aside_makes_no_difference() -> None:
    """The fold passes over it, as the lane did."""
    log = log_of(breaker("open"), mode("m-1", "deep"), breaker("half_open"))
    with failing_at(1):
        lane = apply_all(log)
    verified = verification(lane, log)
    assert [*redis(verified, lane), *verified.states()] == []


def test_progress_that_is_not_the_logs_is_named() -> None:
    """The number of records, the last record applied, and the rules."""
    log = log_of(rules({"retire_after_seconds": 60}), breaker("open"))
    lane = apply_all(log)
    wrong = progress(lane, log[-1])._replace(crc=1, records=2, rules=[lane.rules[0], parse_rules(1, {})])
    found = [(difference.where, difference.what) for difference in verification(lane, log).progress(wrong, 1)]
    assert found == [("redis", "records"), ("redis", "last record applied"), ("redis", "rules")]
    lacking = verification(lane, log, states=topic(lane.states)[1:]).progress(progress(lane, log[-1]), 1)
    assert [(difference.where, difference.what) for difference in lacking] == [("states", "rules")]
