"""Bad input: each record gets a dead letter that says what and why, and the others are folded as if without it."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.kafka.partitioner import partition_of
from schemas.wire.cloudevents import Headers
from schemas.wire.events import BREAKER
from tests.support.batches import Lane, apply_all, logs
from tests.support.events import Document, breaker, cancel, event, mode, policy, rules, sleep, timer
from tests.support.records import Source, source
from tests.support.times import T
from worker.fold.dead_letter import Ceiling
from worker.fold.decoding import Decoder
from worker.fold.event_handlers import APPLY, Step
from worker.ports import Output


def raw(value: bytes | None, key: bytes | None = b"acme", headers: Headers = ()) -> Source:
    """Return a record with bytes as they are."""
    return Source(1, T + 1, key, value, headers)


def told(document: Document, key: bytes | None = b"acme") -> Source:
    """Return a record with an event under a key of its own choice."""
    return Source(1, T + 1, key, json.dumps(document).encode())


def without(document: Document, name: str) -> Document:
    """Return an event without an attribute."""
    return {key: value for key, value in document.items() if key != name}


def binary(**attributes: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return headers of a binary-mode breaker event, some attributes replaced."""
    usual = {"specversion": b"1.0", "id": b"e", "source": b"s", "type": BREAKER.encode(), "subject": b"acme"}
    return tuple((f"ce_{name}", value) for name, value in (usual | attributes).items())


HUGE = json.dumps(breaker("open", padding="x" * 1_000_000)).encode()
GOOD = json.dumps({"breaker": "a", "state": "open"}).encode()
OPEN = json.dumps(breaker("open")).encode()
SLEEP = json.dumps(sleep("op", ttl_ms=60_000)).encode()
BAD: list[tuple[str, Source, str, str]] = [
    ("no JSON", raw(b"{]"), "undecodable", "the value is not JSON"),
    ("no UTF-8", raw(b'{"id": "\xff"}'), "undecodable", "the value is not JSON"),
    ("cut JSON", raw(OPEN[:-1]), "undecodable", "the value is not JSON"),
    ("lone surrogate", raw(OPEN.replace(b"e-1", rb"\ud800")), "undecodable", "the value is not JSON"),
    ("too deep", raw(b"[" * 60_000), "undecodable", "recursion limit"),
    ("no value", raw(None), "undecodable", "the record has no value"),
    ("empty", raw(b""), "undecodable", "the value is not JSON"),
    ("1 MB", raw(HUGE), "oversize", f"the value has {len(HUGE)} bytes, more than 65536"),
    ("NaN", raw(SLEEP.replace(b"60000", b"NaN")), "undecodable", "the value is not JSON"),
    ("Infinity", raw(SLEEP.replace(b"60000", b"-Infinity")), "undecodable", "the value is not JSON"),
    ("too large for a double", raw(SLEEP.replace(b"60000", b"1e400")), "invalid_event", "data.ttl_ms: "),
    ("an int too large", raw(SLEEP.replace(b"60000", b"9" * 400)), "invalid_event", "data.ttl_ms: the number fits no"),
    ("a fraction", told(sleep("op", ttl_ms=1.5)), "invalid_event", "data.ttl_ms: "),
    ("a boolean", told(sleep("op", ttl_ms=True)), "invalid_event", "data.ttl_ms: "),
    ("a number in quotes", told(sleep("op", ttl_ms="5")), "invalid_event", "data.ttl_ms: "),
    ("no object", raw(b"[1]"), "invalid_event", ""),
    ("null", raw(b"null"), "invalid_event", ""),
    ("specversion", told(breaker("open") | {"specversion": "0.3"}), "invalid_event", "specversion: "),
    ("no specversion", told(without(breaker("open"), "specversion")), "invalid_event", "specversion: required"),
    ("no id", told(without(breaker("open"), "id")), "invalid_event", "id: required, but missing"),
    ("no type", told(without(breaker("open"), "type")), "invalid_event", "type"),
    ("no data", told(without(breaker("open"), "data")), "invalid_event", "data: required, but missing"),
    ("no subject", told(without(breaker("open"), "subject")), "invalid_event", "subject: required, but missing"),
    ("unknown type", told(event("sleep.nap.v1", {})), "unknown_type", "sleep.nap.v1"),
    ("tomorrow's type", told(breaker("open") | {"type": "sleep.breaker.v2"}), "unknown_type", "sleep.breaker.v2"),
    ("bad time", told(breaker("open", time="yesterday")), "invalid_event", "time: must be an RFC 3339 time (2026"),
    ("no such day", told(breaker("open", time="2026-02-30T00:00:00Z")), "invalid_event", "time: "),
    ("bad state", told(breaker("ajar")), "invalid_event", "data.state: must be one of closed, open"),
    ("an @ in a name", told(event(BREAKER, {"breaker": "a@b", "state": "open"})), "invalid_event", "data.breaker: "),
    ("a control character", told(breaker("open", cause="a\nb")), "invalid_event", "data.cause: "),
    ("a long cause", told(breaker("open", cause="x" * 257)), "invalid_event", "data.cause: "),
    ("bad target", told(sleep("op", "active")), "invalid_event", "data.target: "),
    ("no actor", told(sleep("op", actor=None)), "invalid_event", "data.actor: "),
    ("bad id", told(sleep("ö")), "invalid_event", "data.operation_id: "),
    ("override as a number", told(mode("m", "deep", override=1)), "invalid_event", "data.override: "),
    ("policy as a list", told(policy("p", [])), "invalid_event", "data.policy: "),
    ("no policy", told(event("sleep.policy.v1", {"operation_id": "p", "actor": "a"})), "invalid_event", "data.policy"),
    ("bad tenant", told(breaker("open", tenant="a/b"), b"a/b"), "invalid_event", "subject: "),
    ("long tenant", told(breaker("open", tenant="a" * 129), b"a" * 129), "invalid_event", "subject: "),
    ("empty tenant", told(breaker("open", tenant=""), b""), "invalid_event", "subject: "),
    ("tenant with a line break", told(breaker("open", tenant="a\n"), b"a\n"), "invalid_event", "subject: "),
    ("another key", told(breaker("open"), b"bolt"), "wrong_key", "key 'bolt' is not the event's subject 'acme'"),
    ("no key", told(breaker("open"), None), "wrong_key", "None"),
    ("no text as a key", told(breaker("open"), b"\xff\xfe"), "wrong_key", "acme"),
    ("rules with a key", told(rules({})), "wrong_key", "the record's key 'acme' is not the event's subject None"),
    ("rules with a subject", told(rules({}) | {"subject": "acme"}), "invalid_event", "subject: "),
    ("rules of a list", told(rules([]), None), "invalid_event", "data.rules: "),
    ("rules with a floor", told(rules({"policy": {"floor": "light"}}), None), "invalid_rules", "floor active"),
    ("rules unknown", told(rules({"polcy": {}}), None), "invalid_rules", "polcy: unknown field; did you mean `pol"),
    ("rules of null", told(rules({"policy": None}), None), "invalid_rules", "policy: "),
    ("rules too quick", told(rules({"retire_after_seconds": 59}), None), "invalid_rules", "retire_after_seconds: "),
    ("binary, other version", raw(GOOD, headers=binary(specversion=b"2.0")), "invalid_event", "specversion: "),
    ("binary, other key", raw(GOOD, headers=binary(subject=b"bolt")), "wrong_key", "bolt"),
    ("binary, no UTF-8", raw(GOOD, headers=binary(subject=b"\xff")), "undecodable", "header of the event is not UTF-8"),
    ("binary, no JSON", raw(b"x", headers=binary()), "undecodable", "the value is not JSON"),
]  # fmt: skip


def around(bad: Source) -> tuple[list[Source], list[Source]]:
    """Return a log with a record in its middle, and the same log without it."""
    good = [
        source(0, T, breaker("open")),
        source(2, T + 2, breaker("closed")),
        source(3, T + 3, sleep("op")),
        source(4, T + 4, breaker("half_open", tenant="bolt")),
    ]
    return [good[0], bad, *good[1:]], good


def code_of(letter: Output) -> str:
    """Return what a dead letter's header says."""
    return dict(letter.headers)["sleep.error.code"].decode()


def assert_same(lane: Lane, other: Lane) -> None:
    """Two lanes hold and sent the same, dead letters aside."""
    assert lane.packed == other.packed
    assert lane.operations == other.operations
    assert [version.digest for version in lane.rules] == [version.digest for version in other.rules]
    assert (lane.states, lane.transitions, lane.answers) == (other.states, other.transitions, other.answers)


@pytest.mark.parametrize(("bad", "code", "words"), [pytest.param(*row[1:], id=row[0]) for row in BAD])
def test_bad_input_is_a_dead_letter_and_nothing_else_is_lost(bad: Source, code: str, words: str) -> None:
    """Its code and message say which field and why; it is the record's fault, not ours."""
    log, good = around(bad)
    lane = apply_all(log)
    assert_same(lane, apply_all(good))
    (letter,) = lane.dead_letters
    assert code_of(letter) == code
    assert words in dict(letter.headers)["sleep.error.message"].decode()
    assert (letter.key, letter.value) == (bad.key, None if bad.value is None else bad.value[:65_536])
    assert lane.failures == [False] * len(log)


@given(logs(most=15), st.data())
def test_dead_letters_anywhere_change_nothing(log: list[Source], data: st.DataObject) -> None:
    """Whichever, however many, wherever."""
    dirty: list[Source] = []
    for record in log:
        for bad in data.draw(st.lists(st.sampled_from([row[1] for row in BAD]), max_size=1)):
            dirty.append(replace(bad, offset=record.offset, timestamp=record.timestamp))  # noqa: PERF401 - reads plainer
        dirty.append(record)
    assert_same(apply_all(dirty, range(len(dirty)), remembers=True), apply_all(log, range(len(log))))


def test_a_record_on_another_partition_than_its_keys_is_refused() -> None:
    """An emitter's partitioner is another; the message says which to take."""
    owner = partition_of("acme", 8)
    ours = Decoder(owner, 8).decode(source(0, T, breaker("open")))
    assert not hasattr(ours.event, "code")
    lane = Lane(partitions=8, partition=(owner + 1) % 8)
    lane.apply([source(0, T, breaker("open")), source(1, T, breaker("open"))])
    assert [code_of(letter) for letter in lane.dead_letters] == ["wrong_partition"] * 2
    message = dict(lane.dead_letters[0].headers)["sleep.error.message"].decode()
    assert message == f"acme belongs to partition {owner}: set the producer's partitioner to murmur2"
    assert (lane.packed, lane.failures) == ({}, [False, False])


def test_rules_belong_to_every_partition() -> None:
    """They have no key."""
    for partition in range(8):
        lane = Lane(partitions=8, partition=partition)
        lane.apply([source(0, T, rules({}))])
        assert len(lane.rules) == 2


def fail(*_: object) -> Step:
    """Stand for a bug of ours."""
    raise ZeroDivisionError("a bug of ours")


def test_a_record_on_which_the_fold_raises_is_set_aside_with_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is before and after it is folded as if it had not been there."""
    bad = source(1, T + 1, mode("m", "freeze"))
    log, good = around(bad)
    with monkeypatch.context() as patch:
        patch.setitem(APPLY, bad_type := "sleep.mode.v1", fail)
        lane = apply_all(log)
        assert bad_type in str(bad.value)
    assert_same(lane, apply_all(good))
    (letter,) = lane.dead_letters
    assert code_of(letter) == "fold_failed"
    assert "ZeroDivisionError: a bug of ours" in dict(letter.headers)["sleep.error.message"].decode()
    assert lane.failures == [False, True, False, False, False]


STATES = ("worker.fold.piece.encoded_state",)
ROWS_AND_RULES = ("schemas.wire.transition.Transition.encode", "worker.fold.piece.to_json")


@pytest.mark.parametrize("broken", [STATES, ROWS_AND_RULES])
@pytest.mark.parametrize(
    "bad", [breaker("closed"), sleep("new", reply_to="r"), cancel("new", "op-0", reply_to="r"), timer(), rules({})]
)
def test_a_record_that_cannot_be_encoded_leaves_the_batch_as_it_was(
    bad: Document, broken: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that can raise comes first: no half of an event is ever written."""
    before = [source(0, T, breaker("open")), source(1, T, sleep("op-0", ttl_ms=1000))]
    record = source(2, T + 5_000, bad)
    after = [source(3, T + 6_000, breaker("half_open"))]
    lane, other = Lane(remembers=True), Lane(remembers=True)
    for each in (lane, other):
        each.apply(before)
    with monkeypatch.context() as patch:
        for encoder in broken:
            patch.setattr(encoder, fail)
        batch = lane.apply([record])
    # An event that has nothing to encode with it is folded, and is none of this test's business.
    if batch.failures == [True]:
        assert (batch.records, batch.states, batch.transitions, batch.operations) == ({}, [], [], {})
        assert (batch.answers, batch.timers_folded, batch.published) == ([], [], {})
        assert code_of(batch.dead_letters[0]) == "fold_failed"
        for each in (lane, other):
            each.apply(after)
        assert_same(lane, other)
    else:
        assert bad["type"] == ("sleep.rules.v1" if broken is STATES else "sleep.timer.v1")


@pytest.mark.parametrize("decoder", ["decode", "read_usual_breaker"])
def test_what_our_decoder_trips_over_is_our_failure(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not stop the partition."""
    monkeypatch.setattr(f"worker.fold.decoding.{decoder}", fail)
    lane = apply_all([source(0, T, breaker("OPEN"))])
    assert [code_of(letter) for letter in lane.dead_letters] == ["decode_failed"]
    assert lane.failures == [True]
    assert lane.packed == {}


def test_bad_data_never_reaches_the_ceiling_and_our_own_failures_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One emitter's rubbish stops nobody; a fold that raises on everything is a bad deploy."""
    rubbish, ours = Ceiling(0.5), Ceiling(0.5)
    for failed in apply_all([replace(raw(b"{]"), offset=offset) for offset in range(2_000)]).failures:
        rubbish.count(failed=failed)
    monkeypatch.setitem(APPLY, BREAKER, fail)
    for failed in apply_all([source(offset, T, breaker("open")) for offset in range(600)]).failures:
        ours.count(failed=failed)
    assert (rubbish.reached, ours.reached) == (False, True)


NUMBERS = [
    b"1e308",
    b"-1e308",
    b"1e400",
    b"-0.0",
    b"1" + b"0" * 300,
    b"9" * 4_000,
    b"0",
    b"1.0",
    b"true",
    b"null",
    b'""',
]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", ["occurred_at", "not_after", "ttl_ms", "if_version", "due_at", "floor"])
def test_no_number_makes_us_fail(field: str, number: bytes) -> None:
    """It is accepted, refused, or a dead letter of its own fault."""
    documents = {
        "occurred_at": breaker("open", occurred_at=777),
        "not_after": sleep("op", not_after=777),
        "ttl_ms": sleep("op", ttl_ms=777),
        "if_version": policy("p", {}, if_version=777),
        "due_at": timer(777),
        "floor": policy("p", {"floor": 777}),
    }
    value = json.dumps(documents[field]).encode().replace(b"777", number)
    lane = apply_all(
        [Source(0, T, b"acme", value), Source(1, T + 1, b"acme", value), source(2, T + 2, breaker("open"))], [1]
    )
    assert lane.failures == [False] * 3, lane.dead_letters
    assert lane.counts["freeze"] == 1


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["open", "deep", "acme", BREAKER]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["floor", "breakers", "match", "K"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.data())
def test_no_field_of_any_event_makes_us_fail(data: st.DataObject) -> None:
    """Whatever JSON stands in any place of any event."""
    documents = [
        breaker("open"),
        sleep("op"),
        cancel("c", "op"),
        mode("m", "deep"),
        policy("p", {}),
        rules({}),
        timer(),
    ]
    document = data.draw(st.sampled_from(documents))
    place = document if data.draw(st.booleans()) else document["data"]
    changed = {**place, data.draw(st.sampled_from(sorted(place))): data.draw(_json)}
    document = changed if place is document else {**document, "data": changed}
    key = document.get("subject")
    record = Source(
        0, T, key.encode("utf-8", "replace") if isinstance(key, str) else None, json.dumps(document).encode()
    )
    lane = apply_all([record, replace(record, offset=1)], [1])
    assert lane.failures == [False, False], lane.dead_letters
