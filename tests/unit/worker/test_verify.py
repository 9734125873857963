"""Verifying: nothing differs where all was done right, and each thing that is wrong is named with its tenant."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic_core import from_json, to_json

from schemas.domain.policy import parse_rules
from schemas.domain.record import pack
from schemas.domain.sealing import seal, unseal
from schemas.kafka.source_record import Failure
from schemas.redis import command_memory as remembered
from schemas.redis.command_memory import FIXED_BYTES
from schemas.redis.progress import Progress
from tests.support.batches import Lane, apply_all, failing_at, logs
from tests.support.events import breaker, mode, rules, sleep, timer
from tests.support.oracle import commands_of
from tests.support.records import Source, source
from tests.support.times import DAY, HOUR, MINUTE, T
from tests.unit.worker.rebuilds import compacted, decodable_since, log_of, topic
from tests.unit.worker.verifications import redis, verification
from worker.fold.dead_letter import dead_letter
from worker.partition.startup_checks import checksum
from worker.ports import Index, PartitionStatus
from worker.recovery.differences import Difference


def index(lane: Lane) -> Index:
    """Return what a lane's store holds beside its records."""
    timers = {tenant: item.due for tenant, item in lane.written.items() if item.due is not None}
    return Index(timers, lane.counts, {tenant for tenant, open_ended in lane.open_ended.items() if open_ended})


def stated(states: Sequence[Source], start: int) -> set[bytes | None]:
    """Return the keys that have a state from this offset of the log on."""
    documents = [(record.key, json.loads(record.value or b"{}")) for record in states]
    return {key for key, each in documents if each and int(each["position"].partition(":")[2]) >= start}


def ids_of(log: Sequence[Source], offsets: range) -> set[tuple[str, str]]:
    """Return tenant and id of the commands at these offsets."""
    return set(commands_of([record for record in log if record.offset in offsets]))


def progress(lane: Lane, last: Source) -> Progress:
    """Return a lane's progress behind a record."""
    crc = checksum(last.key, last.value)
    return Progress(
        next=last.offset + 1,
        timestamp=last.timestamp,
        crc=crc,
        states_next=None,
        records=len(lane.packed),
        rules=lane.rules,
        swept=0,
        partitions=1,
        highest=lane.highest,
    )


def standing(progress: Progress, lane: Lane) -> PartitionStatus:
    """Return what a store tells of itself that holds what a lane wrote, and says this."""
    return PartitionStatus(progress, True, len(lane.packed), 0, 0, 0, len(lane.operations), len(lane.ended))  # noqa: FBT003


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
    assert [
        difference for difference in [*redis(verified, lane), *verified.states()] if difference.tenant not in unsure
    ] == []
    assert list(verified.progress(standing(progress(lane, log[-1]), lane))) == []
    assert verified.index(sorted(lane.written), lane.packed, lane.rules, index(lane)) == []
    if not unsure:
        assert verified.counts(index(lane)) == []
    keys = verified.replay.commands.operations.keys() & lane.operations.keys()
    sure = {key: lane.operations[key] for key in keys if key[0] not in unsure}
    assert verified.operations(sure, progress(lane, log[-1])) == {}


def test_a_record_that_is_not_the_folds_is_named_with_its_fields() -> None:
    """What the log says, and what was found."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    record = lane.record("acme")
    assert record is not None
    lane.packed["acme"] = pack(replace(record, version=9), lane.rules[0].terms.schedule)
    assert redis(verification(lane, log), lane) == [Difference(0, "acme", "redis", "differs", {"version": (1, 9)})]


def test_a_record_that_is_missing_or_too_much_or_damaged_is_named() -> None:
    """Each with its tenant."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"), breaker("open", tenant="corp"))
    lane = apply_all(log)
    verified = verification(lane, log)
    lane.packed["dora"] = lane.packed.pop("acme")
    lane.packed["bolt"] = lane.packed["bolt"][:-1]
    actual = {difference.tenant: difference.what for difference in redis(verified, lane)}
    assert actual.keys() == {"acme", "bolt", "dora"}
    assert actual["bolt"].startswith("cannot be read:")
    assert (actual["acme"], actual["dora"]) == ("is missing", "should not be there")


def test_what_a_newer_release_wrote_is_not_called_damaged() -> None:
    """A rebuild would not help; an upgrade does."""
    log = log_of(breaker("open"), sleep("op-1"))
    lane = apply_all(log)
    verified = verification(lane, log)
    layout, *fields = from_json(unseal(lane.packed["acme"]))
    fields[6:7] = [[99, None]]  # The cause, which may be left out.
    lane.packed["acme"] = seal(to_json([layout, *fields]))
    [difference] = redis(verified, lane)
    assert difference.what.startswith("cause 99 is of a newer release; upgrade")
    fixed = bytearray(unseal(lane.operations["acme", "op-1"][:FIXED_BYTES]))
    fixed[9] = 99
    differences = verified.operations({("acme", "op-1"): seal(bytes(fixed))}, progress(lane, log[-1]))
    assert differences["acme", "op-1"].what.startswith("operation op-1 command type 99 is of a newer release; upgrade")


def test_with_the_whole_log_even_a_clock_is_compared_and_without_it_is_not() -> None:
    """What a renewal leaves unpublished is nowhere but in Redis then."""
    log = log_of(mode("m-1", "deep"), mode("m-2", "deep"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    record = lane.record("acme")
    assert record is not None
    lane.packed["acme"] = pack(replace(record, clock=record.clock + 1), lane.rules[0].terms.schedule)
    [difference] = redis(verification(lane, log), lane)
    assert difference.fields == {"clock": (record.clock, record.clock + 1)}
    assert redis(verification(lane, log, start=1), lane) == []


def test_a_state_that_is_not_what_was_published_is_named() -> None:
    """A stale owner's late append, and a tenant that the topic lost."""
    log = log_of(breaker("open"), breaker("closed"), breaker("open", tenant="bolt"))
    lane = apply_all(log, [1, 2])
    states = topic(lane.states)
    stale = verification(lane, log, states=[*states, states[0]]).states()
    assert [(difference.tenant, difference.where, difference.what) for difference in stale] == [
        ("acme", "states", "differs")
    ]
    assert stale[0].fields["state"] == ("active", "freeze")
    lost = verification(lane, log, states=states[:2]).states()
    assert [(difference.tenant, difference.what) for difference in lost] == [("bolt", "is missing")]


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
    [difference] = verified.from_the_future(2)
    assert (difference.tenant, difference.where, difference.what) == ("acme", "states", "is from the future")
    assert difference.fields == {"position": ("before 2", 2)}


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
    assert [difference.tenant for difference in redis(verified, lane)] == ["acme"]
    verified.replay.read(log[1:])
    assert redis(verified, lane) == []


def test_what_stands_beside_a_record_is_compared_with_it() -> None:
    """By the record in Redis where it can be read: one that is wrong is named already."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    record = lane.record("acme")
    assert record is not None
    claims = {key: replace(claim, expires_at=None) for key, claim in record.claims.items()}
    lane.packed["acme"] = pack(replace(record, claims=claims), lane.rules[0].terms.schedule)
    differences = verification(lane, log).index(["acme", "bolt"], lane.packed, lane.rules, index(lane))
    assert [(difference.tenant, difference.what) for difference in differences] == [
        ("acme", "timer"),
        ("acme", "open_ended"),
    ]


def test_indexes_beside_an_unreadable_record_are_compared_with_the_log() -> None:
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
    operation, stands = lane.operation("acme", "op-1"), progress(lane, log[-1])
    untold = operation._replace(detail="worded", trace_id=None, target_state=None, expires_at=None)
    # Under its own key, as a worker of layout 2 left it.
    assert verified.operations({("acme", "op-1"): untold.pack()}, stands) == {}
    wrong = remembered.pack(operation._replace(code="too_late", refused=True), live=True)
    [difference] = verified.operations({("acme", "op-1"): wrong}, stands).values()
    assert difference.what == "operation op-1 differs"
    assert difference.fields == {"refused": (False, True), "code": (None, "too_late")}


def test_a_command_that_was_forgotten_is_not_looked_for() -> None:
    """Two hours of the log after its end, by the higher timestamp of the two: that of the log, or of progress."""
    log = [source(0, T, sleep("op-1", "deep", MINUTE)), source(1, T + MINUTE, timer(T + MINUTE))]
    lane = apply_all(log)
    verified, stands = verification(lane, log), progress(lane, log[-1])
    missing = {("acme", "op-1"): None}
    for highest, known in ((T + MINUTE, True), (T + MINUTE + 2 * HOUR - 1, True), (T + MINUTE + 2 * HOUR, False)):
        later = stands._replace(highest=highest)
        assert verified.remembered(later) == list(missing) * known
        assert [difference.what for difference in verified.operations(missing, later).values()] == [
            "operation op-1 is missing"
        ] * known


def test_an_operation_that_lives_is_always_looked_for() -> None:
    """Also where the partition's time is long past its end, since its claim is there still."""
    log = [source(0, T, sleep("op-1", "deep", MINUTE)), source(1, T + DAY, breaker("open", tenant="bolt"))]
    lane = apply_all(log)
    assert verification(lane, log).remembered(progress(lane, log[-1])) == [("acme", "op-1")]


def test_another_number_of_commands_or_a_higher_time_is_named() -> None:
    """Progress says how many there are; a wrong highest timestamp forgets too early, or too late."""
    log = log_of(mode("m-1", "deep"), mode("m-2", "light"))
    lane = apply_all(log)
    wrong = progress(lane, log[-1])._replace(operations=3, ended=1, highest=T + DAY)
    differences = verification(lane, log).progress(standing(wrong, lane))
    assert [difference.what for difference in differences] == ["operations", "ends of operations", "highest timestamp"]


def test_a_record_that_was_set_aside_makes_no_difference() -> None:
    """The fold passes over it, as the lane did."""
    log = log_of(breaker("open"), mode("m-1", "deep"), breaker("half_open"))
    with failing_at(1):
        lane = apply_all(log)
    verified = verification(lane, log)
    assert [*redis(verified, lane), *verified.states()] == []


@pytest.mark.parametrize("poison", decodable_since(1))
def test_a_dead_letter_that_this_version_decodes_makes_no_difference(poison: Source) -> None:
    """An earlier version set it aside, and what was folded behind it was folded without it."""
    log = [*log_of(breaker("open")), poison]
    lane = apply_all(log[:1])
    assert [difference.what for difference in redis(verification(lane, log), lane)] == ["differs"]
    lane.dead_letters.append(dead_letter(poison, Failure("invalid_event", "of an earlier version")))
    verified = verification(lane, log)
    assert [*redis(verified, lane), *verified.states()] == []


def test_progress_that_is_not_the_logs_is_named() -> None:
    """The number of records, the last record applied, and the rules."""
    log = log_of(rules({"retire_after_seconds": 60}), breaker("open"))
    lane = apply_all(log)
    wrong = progress(lane, log[-1])._replace(crc=1, records=2, rules=[lane.rules[0], parse_rules(1, {})])
    matching = [
        (difference.where, difference.what) for difference in verification(lane, log).progress(standing(wrong, lane))
    ]
    assert matching == [("redis", "records"), ("redis", "last record applied"), ("redis", "rules")]
    lacking = verification(lane, log, states=topic(lane.states)[1:]).progress(standing(progress(lane, log[-1]), lane))
    assert [(difference.where, difference.what) for difference in lacking] == [("states", "rules")]
