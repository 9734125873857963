"""A batch: what it needs, what it sends, what it writes."""

import json

from schemas.operation import OperationRecord
from schemas.record import unpack
from tests.unit.worker.batches import Lane, apply_all, values
from tests.unit.worker.build import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Source,
    T,
    breaker,
    cancel,
    event,
    mode,
    pin,
    policy,
    rules,
    sleep,
    source,
    timer,
)  # fmt: skip
from worker.batch import Decoder, Written, count_changes, operations_of, tenants_of


def test_a_batch_needs_each_tenant_once_and_none_for_rules_and_dead_letters() -> None:
    """In the order in which they come."""
    decoder = Decoder(0, 1)
    documents = [
        breaker("open", tenant="b"), rules({}), breaker("open", tenant="a"), timer(tenant="b"), event("no", {}, "c"),
    ]  # fmt: skip
    found = [decoder.decode(source(offset, T, document)) for offset, document in enumerate(documents)]
    assert tenants_of(found) == ["b", "a"]


def test_a_batch_needs_the_commands_own_ids_and_those_that_they_cancel() -> None:
    """Each once; neither breakers nor timers have one."""
    decoder = Decoder(0, 1)
    documents = [
        sleep("x"), breaker("open"), cancel("y", "x"), cancel("z", "w"), timer(), mode("x", "deep", tenant="b"),
        rules({}),
    ]  # fmt: skip
    found = [decoder.decode(source(offset, T, document)) for offset, document in enumerate(documents)]
    assert operations_of(found) == [("acme", "x"), ("acme", "y"), ("acme", "z"), ("acme", "w"), ("b", "x")]


def test_a_later_event_of_the_batch_sees_what_an_earlier_one_did() -> None:
    """Records and commands alike."""
    lane = apply_all([source(0, T, sleep("op")), source(1, T, cancel("stop", "op")), source(2, T, sleep("op"))])
    assert [row["code"] for row in lane.rows()] == [None, None, None, None, "duplicate_operation"]
    assert OperationRecord.unpack(lane.operations["acme", "op"]).cancelled_at == T


def test_each_event_that_shows_a_change_publishes_a_state_and_no_other_does() -> None:
    """In the order of the log, with the tenant as key."""
    lane = apply_all(
        [
            source(0, T, breaker("open", tenant="a")),
            source(1, T, breaker("open", tenant="b")),
            source(2, T, breaker("open", tenant="a")),
            source(3, T, breaker("closed", tenant="a")),
        ]
    )
    keys = [output.key for output in lane.states]
    assert keys == [b"a", b"b", b"a"]
    assert [value["position"] for value in values(lane.states)] == ["0:0", "0:1", "0:3"]
    assert [output.key for output in lane.transitions] == [b"a", b"b", b"a"]


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
    (kept,) = lane.apply([source(2, T + 2, policy("p", {}))]).written().values()
    assert asleep.due == T + 900 * SECOND
    assert awake.due == T + 1 + 30 * SECOND + DAY
    assert kept.due is None


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


def test_a_command_is_kept_nine_days_after_it_finished() -> None:
    """Hygiene only: the events' retention and two days; while an operation lives nothing expires."""
    lane = Lane()
    batch = lane.apply([source(0, T, sleep("op", ttl_ms=HOUR)), source(1, T, mode("m", "deep"))])
    assert {key[1]: kept for key, (_, kept) in batch.operations.items()} == {"op": HOUR + 9 * DAY, "m": 9 * DAY}
    batch = lane.apply([source(2, T + MINUTE, cancel("stop", "op"))])
    assert {key[1]: kept for key, (_, kept) in batch.operations.items()} == {"op": 9 * DAY, "stop": 9 * DAY}
    batch = lane.apply([source(3, T - DAY, mode("n", "deep"))])
    assert {key[1]: kept for key, (_, kept) in batch.operations.items()} == {"n": 9 * DAY + DAY + MINUTE}


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
    assert lane.answers[0][1] == lane.answers[1][1] == lane.operations["acme", "op"]


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
    decoder._REMEMBERED = 3  # type: ignore[misc]  # noqa: SLF001 - a small one stands for 100,000
    for number in range(10):
        found = decoder.decode(source(number, T, breaker("open", tenant=f"tenant-{number}")))
        assert not hasattr(found.event, "code")
        assert len(decoder._ours) <= 3  # noqa: SLF001


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
