"""A batch: what it needs, what it sends, what it writes."""

import json
from typing import Any

import pytest

from schemas.domain.record import unpack
from schemas.redis.command_memory import FIXED_BYTES
from tests.support.batches import Lane, apply_all, values
from tests.support.events import breaker, cancel, event, mode, pin, policy, rules, sleep, timer
from tests.support.records import Source, source
from tests.support.times import DAY, HOUR, MINUTE, SECOND, T
from worker.fold.decoding import Decoder, operations_of, tenants_of
from worker.fold.piece import Piece
from worker.fold.written import Written, count_changes


def test_a_batch_needs_each_tenant_once_and_none_for_rules_and_dead_letters() -> None:
    """In the order in which they come."""
    decoder = Decoder(0, 1)
    documents = [
        breaker("open", tenant="b"), rules({}), breaker("open", tenant="a"), timer(tenant="b"), event("no", {}, "c"),
    ]  # fmt: skip
    item = [decoder.decode(source(offset, T, document)) for offset, document in enumerate(documents)]
    assert tenants_of(item) == ["b", "a"]


def test_a_batch_needs_the_commands_own_ids_and_those_that_they_cancel() -> None:
    """Each once; neither breakers nor timers have one."""
    decoder = Decoder(0, 1)
    documents = [
        sleep("x"), breaker("open"), cancel("y", "x"), cancel("z", "w"), timer(), mode("x", "deep", tenant="b"),
        rules({}),
    ]  # fmt: skip
    item = [decoder.decode(source(offset, T, document)) for offset, document in enumerate(documents)]
    assert operations_of(item) == [("acme", "x"), ("acme", "y"), ("acme", "z"), ("acme", "w"), ("b", "x")]


def test_a_later_event_of_the_batch_sees_what_an_earlier_one_did() -> None:
    """Records and commands alike."""
    lane = apply_all([source(0, T, sleep("op")), source(1, T, cancel("stop", "op")), source(2, T, sleep("op"))])
    assert [row["code"] for row in lane.rows()] == [None, None, None, None, "duplicate_operation"]
    assert lane.operation("acme", "op").cancelled_at == T


def test_a_commit_publishes_the_last_state_of_each_tenant_and_every_row() -> None:
    """Rules first, then in the order of the log, with the tenant as key."""
    lane = apply_all(
        [
            source(0, T, breaker("open", tenant="a")),
            source(1, T, breaker("open", tenant="b")),
            source(2, T, breaker("open", tenant="a")),
            source(3, T, breaker("closed", tenant="a")),
            source(4, T, rules({})),
        ]
    )
    assert [output.key for output in lane.states] == [b"*rules:1", b"b", b"a"]
    assert [value["position"] for value in values(lane.states)] == ["0:4", "0:1", "0:3"]
    assert [output.key for output in lane.transitions] == [b"a", b"b", b"a"]


def test_the_state_is_that_right_after_the_last_event_that_shows_a_change() -> None:
    """Not the one that a renewal left, which would have a later clock and `occurred_at`."""
    lane = Lane()
    lane.apply([source(0, T, breaker("closed", occurred_at=T))])
    batch = lane.apply(
        [
            source(1, T + 1, breaker("open", occurred_at=T + 1)),
            source(2, T + 2, breaker("open", occurred_at=T + 2)),
            source(3, T + 3, breaker("open", occurred_at=T + 3)),
        ]
    )
    (state,) = values(batch.states)
    assert (state["position"], state["clock"], state["claims"][0]["occurred_at"]) == ("0:1", T + 1, T + 1)
    known = lane.document("acme")
    assert known is not None
    assert (known["position"], known["clock"], known["claims"][0]["occurred_at"]) == ("0:1", T + 3, T + 3)


def test_a_tenant_without_a_record_before_the_commit_is_marked_as_new() -> None:
    """With the position at which the commit began; whatever became of it within."""
    lane = Lane()
    batch = lane.apply(
        [
            source(7, T, timer(tenant="b")),
            source(8, T, breaker("closed", tenant="b")),
            source(9, T, breaker("closed", tenant="a")),
            source(10, T, breaker("open", tenant="a")),
            source(11, T + 3 * DAY, timer(tenant="b")),
        ]
    )
    assert [(output.key, output.value is None, output.headers) for output in batch.states] == [
        (b"a", False, (("sleep.new", b"0:7"),)),
        (b"b", True, (("sleep.position", b"0:11"), ("sleep.new", b"0:7"))),
    ]
    batch = lane.apply([source(12, T + 3 * DAY, breaker("closed", tenant="a"))])
    assert [output.headers for output in batch.states] == [()]


def test_a_tenant_that_retires_and_comes_back_in_one_commit_is_not_new() -> None:
    """It had a record before, though its version is 1 again; and no tombstone stands between."""
    lane = Lane()
    lane.apply([source(0, T, breaker("closed"))])
    batch = lane.apply([source(1, T + 3 * DAY, timer()), source(2, T + 3 * DAY, breaker("closed"))])
    (state,) = batch.states
    assert (values([state])[0]["version"], state.headers) == (1, ())


def test_a_tenant_that_retires_leaves_a_tombstone_with_its_position() -> None:
    """So that a reader can tell it from an older record."""
    lane = Lane()
    lane.apply([source(0, T, breaker("closed"))])
    batch = lane.apply([source(9, T + 3 * DAY, timer())])
    (tombstone,) = batch.states
    assert (tombstone.key, tombstone.value, tombstone.headers) == (b"acme", None, (("sleep.position", b"0:9"),))
    assert batch.written() == {"acme": Written(None, None, open_ended=False)}
    assert lane.counts["active"] == 0


def test_rules_are_numbered_kept_and_published_on_their_own_key() -> None:
    """A rebuild needs them; the built-in ones are number 0."""
    lane = apply_all([source(5, T, rules({})), source(7, T + 1, rules({"retire_after_seconds": 60}))])
    assert [output.key for output in lane.states] == [b"*rules:1", b"*rules:2"]
    assert values(lane.states)[1] == {
        "number": 2, "position": "0:7", "at": T + 1,
        "rules": {"policy": lane.rules[0].policy.document, "schedule": None, "retire_after_seconds": 60},
    }  # fmt: skip
    assert [version.number for version in lane.rules] == [0, 1, 2]
    assert (lane.transitions, lane.packed) == ([], {})


def test_the_timer_of_a_tenant_is_its_next_deadline_else_when_it_may_retire() -> None:
    """Else none."""
    lane = Lane()
    (asleep,) = lane.apply([source(0, T, breaker("open"))]).written().values()
    (awake,) = lane.apply([source(1, T + 1, breaker("closed"))]).written().values()
    (remaining,) = lane.apply([source(2, T + 2, policy("p", {}))]).written().values()
    assert asleep.due == T + 900 * SECOND
    assert awake.due == T + 1 + 30 * SECOND + DAY
    assert remaining.due is None


def test_a_tenant_with_a_pin_or_an_endless_claim_is_open_ended() -> None:
    """Not one whose sleep ends by itself."""
    lane = Lane()
    documents = [
        breaker("open", tenant="lease"), breaker("forced_open", tenant="forced"), mode("m", "light", tenant="mode"),
        mode("m", "light", 5, tenant="short"), pin("m", "active", tenant="pin"), mode("m", "active", tenant="none"),
    ]  # fmt: skip
    lane.apply([source(offset, T, document) for offset, document in enumerate(documents)])
    assert {tenant for tenant, open_ended in lane.open_ended.items() if open_ended} == {"forced", "mode", "pin"}
    assert lane.open_ended.keys() == {"lease", "forced", "mode", "short", "pin", "none"}


@pytest.mark.parametrize(
    "policy_",
    [
        {},
        {"breakers": [{"match": "*", "lease_seconds": 60}]},
        {"breakers": [{"match": "*", "quorum": 3}]},
        {"enforce": False},
        {"ceiling": "active"},
        {"min_sleep_seconds": 60},
    ],
    ids=str,
)
@pytest.mark.parametrize("first", ["open", "closed", "forced_open"])
def test_a_tenant_with_only_forced_open_breakers_is_open_ended(policy_: dict[str, Any], first: str) -> None:
    """Nothing ends such a claim but its emitter, whatever the rule's lease; a lease that it had before is gone."""
    lane = Lane()
    lane.apply([source(0, T, policy("p", policy_)), source(1, T + 1, breaker(first))])
    lane.apply([source(2, T + 2, breaker("forced_open")), source(3, T + 3, breaker("forced_open", instance="2"))])
    assert lane.open_ended == {"acme": True}
    lane.apply([source(4, T + DAY, timer())])
    assert lane.open_ended == {"acme": True}
    lane.apply([source(5, T + DAY + 1, breaker("closed")), source(6, T + DAY + 2, breaker("open", instance="2"))])
    assert lane.open_ended == {"acme": False}


def test_an_ignored_forced_open_breaker_counts_once_it_is_no_longer_ignored() -> None:
    """A policy that maps it to active, and its removal."""
    lane = Lane()
    lane.apply([source(0, T, breaker("forced_open"))])
    lane.apply([source(1, T + 1, policy("p", {"breakers": [{"match": "*", "open": "active"}]}))])
    assert lane.open_ended == {"acme": False}
    lane.apply([source(2, T + 2, policy("q", None))])
    assert lane.open_ended == {"acme": True}


def ended(batch: Piece) -> list[str]:
    """Return the ids of the commands that are over since a batch."""
    return [operation_id for _, operation_id in batch.ended()]


def test_the_end_of_a_command_is_noted_once() -> None:
    """At its batch, or with the one that ends it: a cancel, or a timer that finds its claim due."""
    lane = Lane()
    assert ended(lane.apply([source(0, T, sleep("op", ttl_ms=HOUR)), source(1, T, mode("m", "deep"))])) == ["m"]
    assert ended(lane.apply([source(2, T, sleep("short", ttl_ms=5)), source(3, T, sleep("op"))])) == []
    assert ended(lane.apply([source(4, T + 5, timer(T + 5))])) == ["short"]
    assert ended(lane.apply([source(5, T + MINUTE, cancel("stop", "op"))])) == ["op", "stop"]
    brief = [source(6, T + MINUTE, sleep("brief", ttl_ms=5)), source(7, T + MINUTE, cancel("halt", "brief"))]
    assert ended(lane.apply(brief)) == ["brief", "halt"]
    assert ended(lane.apply([source(8, T + MINUTE, sleep("none")), source(9, T + DAY, timer())])) == ["none"]


def test_texts_stay_while_an_operation_lives() -> None:
    """What has ended is what a repeat needs, however long its texts were."""
    lane = Lane()
    texts = {"reason": "r" * 256, "trace_id": "t" * 128}
    lane.apply([source(0, T, sleep("op", ttl_ms=5, **texts)), source(1, T, mode("m", "deep", **texts))])
    assert lane.operation("acme", "op")[-4:-1] == ("ops", "r" * 256, "t" * 128)
    assert lane.operation("acme", "m")[-4:-1] == (None, None, None)
    lane.apply([source(2, T + 5, timer(T + 5))])
    assert lane.operation("acme", "op")[-4:-1] == (None, None, None)
    assert {len(packed) for packed in lane.operations.values()} == {FIXED_BYTES}


def test_a_repeat_is_answered_alike_in_the_same_batch_or_a_later_one() -> None:
    """With its texts while the operation lives, and without them afterwards."""
    log = [
        source(0, T, sleep("op", ttl_ms=SECOND, reply_to="reply:1")),
        source(1, T, sleep("op", ttl_ms=SECOND, reply_to="reply:2")),
        source(2, T + SECOND, sleep("op", ttl_ms=SECOND, reply_to="reply:3")),
        source(3, T, mode("m", "deep", reply_to="reply:4")),
        source(4, T, mode("m", "deep", reply_to="reply:5")),
    ]
    alone, together = apply_all(log, range(len(log))), apply_all(log)
    assert alone.outcomes() == together.outcomes()
    assert [outcome.actor for outcome in together.outcomes()] == ["ops", "ops", None, "ops", None]


def test_a_command_is_forgotten_by_the_highest_timestamp_of_its_partition() -> None:
    """Two hours after its end, wherever the tenant's own time is; what the store still holds does not count."""
    log = [
        source(0, T, mode("m", "deep")),
        source(1, T + 2 * HOUR - 1, breaker("open", tenant="bolt")),
        source(2, T + 1, mode("m", "deep")),
        source(3, T + 2 * HOUR, breaker("open", tenant="bolt")),
        source(4, T + 1, mode("m", "deep")),
    ]
    for lane in (apply_all(log), apply_all(log, range(len(log)))):
        codes = [row["code"] for row in lane.rows() if row["operation_id"] == "m" and row["kind"] != "transition"]
        assert codes == [None, "duplicate_operation", None]
        assert lane.operation("acme", "m").offset == 4
        assert lane.highest == T + 2 * HOUR


def test_the_highest_timestamp_is_that_of_any_record() -> None:
    """A timer, rules, and what nobody can decode are stamped by the log too."""
    for record in (source(1, T + HOUR, timer()), source(1, T + HOUR, rules({})), Source(1, T + HOUR, b"acme", b"{")):
        assert apply_all([source(0, T, mode("m", "deep")), record]).highest == T + HOUR


def test_every_command_takes_its_receipt_away() -> None:
    """A repeat, a conflict and what is refused have one too, which nobody else deletes."""
    commands = [mode("m", "deep"), mode("m", "deep"), mode("m", "light"), cancel("c", "none"), breaker("open")]
    batch = Lane().apply([source(offset, T, document) for offset, document in enumerate(commands)])
    assert list(batch.receipts) == [("acme", "m"), ("acme", "c")]
    assert list(Lane().apply([source(0, T, mode("m", "deep"))]).receipts) == [("acme", "m")]


def test_only_commands_that_name_a_channel_are_answered() -> None:
    """With their outcome, as the store keeps it."""
    lane = apply_all(
        [
            source(0, T, sleep("op", reply_to="reply:1")),
            source(1, T, sleep("op", reply_to="reply:2")),
            source(2, T, sleep("op", "light", reply_to="reply:3")),
            source(3, T, sleep("quiet")),
            source(4, T, breaker("open")),
            source(5, T, timer()),
        ]
    )
    assert [channel for channel, _ in lane.answers] == ["reply:1", "reply:2", "reply:3"]
    assert [outcome.code for outcome in lane.outcomes()] == [None, None, "idempotency_conflict"]
    first, repeat, _ = lane.outcomes()
    assert first == repeat == lane.operation("acme", "op")


def test_folded_timers_are_told_with_their_lag() -> None:
    """Those that changed nothing too, so that each can be set anew."""
    lane = Lane()
    batch = lane.apply(
        [source(0, T, timer(T - 5)), source(1, T + 1, timer(T, tenant="b")), source(2, T, breaker("open"))]
    )
    assert batch.timers_folded == [("acme", T), ("b", T + 1)]
    assert batch.timer_lags == [5, 1]


def test_counts_change_by_what_came_went_and_moved() -> None:
    """States that gained as many as they lost are left out."""
    lane = Lane()
    lane.apply([source(0, T, breaker("open", tenant="a")), source(1, T, breaker("closed", tenant="b"))])
    assert lane.counts == {"active": 1, "light": 0, "deep": 0, "freeze": 1}
    before = {"a": lane.record("a"), "b": lane.record("b"), "c": None, "d": None}
    assert count_changes(before, {"a": None, "b": lane.record("a"), "c": lane.record("b"), "d": None}) == {}
    assert count_changes(before, {"a": None}) == {"freeze": -1}


def test_a_record_known_to_be_absent_is_not_asked_for() -> None:
    """Memory holds absence too, such as of a tenant that retired."""
    lane = Lane(remembers=True)
    lane.apply([source(0, T, breaker("closed"))])
    lane.apply([source(1, T + 3 * DAY, timer())])
    assert lane.memory == {"acme": None}
    lane.packed["acme"] = b"whatever"
    lane.apply([source(2, T + 3 * DAY, breaker("open"))])
    assert unpack(lane.packed["acme"], lane.rules).version == 1


def test_a_decoder_forgets_keys_rather_than_grow() -> None:
    """It knows the partition of each key that it saw lately, since the hash is slow."""
    decoder = Decoder(0, 1)
    decoder._CACHED_KEYS = 3  # type: ignore[misc]  # noqa: SLF001 - a small one stands for 100,000
    for number in range(10):
        item = decoder.decode(source(number, T, breaker("open", tenant=f"tenant-{number}")))
        assert not hasattr(item.event, "code")
        assert len(decoder._own_keys) <= 3  # noqa: SLF001


def test_a_binary_mode_event_is_folded_as_a_structured_one() -> None:
    """Attributes in headers, data as the value."""
    headers = tuple(
        (f"ce_{name}", value.encode())
        for name, value in {
            "specversion": "1.0",
            "id": "e-1",
            "source": "s",
            "type": "sleep.breaker.v1",
            "subject": "acme",
        }.items()
    )
    value = json.dumps({"breaker": "a", "state": "open"}).encode()
    lane = apply_all([Source(0, T, b"acme", value, headers)])
    assert lane.counts["freeze"] == 1
