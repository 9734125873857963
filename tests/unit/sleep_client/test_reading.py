"""The parts of the reader's core: bytes, records, time and tokens; what is wrong changes nothing."""

from typing import Any, Final

import pytest
from pydantic_core import from_json, to_json

from docs.generator.reader_records import record_of
from schemas.kafka.partitioner import partition_of
from sleep_client.reading.errors import BadStreamError, NotReady, NotWatched
from sleep_client.reading.intake import Changed, Intake
from sleep_client.reading.log_clock import LogClock
from sleep_client.reading.parameters import ParameterReader
from sleep_client.reading.sse import MOST_BYTES, Event, EventParser
from sleep_client.reading.tenant_state import TenantState
from sleep_client.reading.tenants import Tenants
from sleep_client.reading.token import ends_at
from tests.support.states_server import DEFAULT, T, event, ready, rules, snapshot, state, token


class Reader:
    """What is known, and one connection."""

    def __init__(self, watched: list[str] | None = None, initial: TenantState | None = None) -> None:
        self.tenants = Tenants(watched, initial)
        self.clock, self.changed = LogClock(), Changed()
        self.sets = ParameterReader()
        self.connect("")

    def connect(self, last_id: str) -> None:
        """Begin a connection."""
        self.intake = Intake(self.tenants, self.clock, self.sets, self.changed, last_id)

    def take(self, data: bytes, local: float = 0.0) -> None:
        """Take events."""
        for each in EventParser().feed(data):
            self.intake.take(each, local)

    def state(self, tenant: str, now: int = T) -> str:
        """Return a tenant's state."""
        return self.tenants.at(tenant, now).state


@pytest.fixture
def reader() -> Reader:
    """A reader that knows `acme`, which is frozen."""
    reader = Reader()
    reader.take(snapshot("acme"))
    reader.changed.take()
    return reader


# Bytes

EVENTS: Final = b'retry: 2000\nid: 1\nevent: time\ndata: {"now":\ndata:  1}\n\n:\n\nid\n\ndata: x\n\nid: a\0b\n\n'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_cut_wherever_they_are_cut_before(size: int, end: bytes) -> None:
    """The format allows three ends of lines."""
    data, parser = EVENTS.replace(b"\n", end) + b"event: unfinished\ndata: x\n", EventParser()
    found = [each for at in range(0, len(data), size) for each in parser.feed(data[at : at + size])]
    assert found == [Event("time", b'{"now":\n 1}', "1"), Event("", b"", ""), Event("", b"x", None)]


def test_an_event_has_a_bound() -> None:
    """Memory does not grow with what a stream sends."""
    parser = EventParser()
    parser.feed(b"data: " + b"x" * (MOST_BYTES - 6))
    with pytest.raises(BadStreamError, match="more than"):
        parser.feed(b"x")


def test_bytes_that_are_no_text_are_rubbish() -> None:
    """Names and ids are UTF-8."""
    with pytest.raises(BadStreamError, match="no text"):
        EventParser().feed(b"event: \xff\n\n")


# Events

BAD: Final = [
    b"event: time\ndata: {\n\n",
    b"event: time\ndata: 7\n\n",
    event("time", {"now": "soon"}),
    event("time", {"now": True}),
    event("gone", {"tenant": "a b", "position": "0:1"}),
    event("gone", {"tenant": "acme", "position": "one"}),
    event("gone", {"tenant": "acme", "position": "0:-1"}),
    event("gone", {"tenant": "acme", "position": 99}),
    event("rules", {"partition": 0}),
    event("rules", {"partition": 1, "partitions": 1, "position": None, "active": DEFAULT}),
    event("rules", {"partition": 0, "partitions": 2, "position": None, "active": DEFAULT}),
    event("rules", {"partition": 0, "partitions": 10**12, "position": None, "active": DEFAULT}),
    event("rules", {"partition": 0, "partitions": 1, "position": None, "active": {}}),
    event("rules", {"partition": 0, "partitions": 1, "position": None, "active": DEFAULT | {"K": "many"}}),
    event("rules", {"partition": 0, "partitions": 1, "position": None, "active": DEFAULT | {"K": True}}),
]


@pytest.mark.parametrize("data", BAD, ids=lambda data: data[7:60].decode())
def test_an_event_that_cannot_be_understood_changes_nothing(reader: Reader, data: bytes) -> None:
    """It ends the connection."""
    with pytest.raises(BadStreamError):
        reader.take(data)
    assert (reader.state("acme"), reader.state("other")) == ("freeze", "active")
    assert reader.changed.take() == frozenset()


WRONG: Final[dict[str, Any]] = {
    "tenant": 7,
    "state": "hibernate",
    "since": "yesterday",
    "at": None,
    "cause": {"why": 1},
    "claims": [{}],
    "parameters": {"from": DEFAULT, "to": DEFAULT, "starts_at": 1.5, "ends_at": 2},
    "forecast": None,
    "position": "0",
}


@pytest.mark.parametrize("field", WRONG)
def test_a_record_that_cannot_be_understood_changes_nothing(reader: Reader, field: str) -> None:
    """Never taken for an awake tenant."""
    document = from_json(EventParser().feed(state("acme", record_of("a staircase", offset=90)))[0].data)
    with pytest.raises(BadStreamError):
        reader.take(event("state", document | {field: WRONG[field]}))
    del document[field]
    with pytest.raises(BadStreamError):
        reader.take(event("state", document))
    assert reader.tenants.at("acme", T).cause == ("breaker", "db@a")


def test_a_forecast_out_of_order_and_a_state_name_that_is_none_are_rubbish(reader: Reader) -> None:
    """They would be read wrongly."""
    document = from_json(EventParser().feed(state("acme", record_of("a staircase", offset=90)))[0].data)
    with pytest.raises(BadStreamError, match="order"):
        reader.take(event("state", document | {"forecast": document["forecast"][::-1]}))
    with pytest.raises(BadStreamError, match="no tenant"):
        reader.take(event("state", document | {"since": 1.5}))
    with pytest.raises(BadStreamError, match="tenant"):
        reader.take(event("state", document | {"tenant": "a b"}))


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (ready(), "no rules"),
        (state("acme"), "before the rules"),
        (
            event("rules", {"partition": 1, "partitions": 2, "position": None, "active": DEFAULT}) + ready(),
            "partition 0",
        ),
        (
            rules() + event("rules", {"partition": 1, "partitions": 2, "position": None, "active": DEFAULT}) + ready(),
            "diff",
        ),
    ],
)
def test_a_snapshot_that_is_not_whole_does_not_count(data: bytes, finding: str) -> None:
    """A partition without rules would have no default."""
    reader = Reader()
    with pytest.raises(BadStreamError, match=finding):
        reader.take(data)
    with pytest.raises(NotReady):
        reader.state("acme")


def test_only_the_partitions_of_watched_tenants_need_rules() -> None:
    """The server sends no others."""
    reader = Reader(["a"])
    number = partition_of("a", 2)
    reader.take(event("rules", {"partition": number, "partitions": 2, "position": None, "active": DEFAULT}) + ready())
    assert reader.state("a") == "active"
    with pytest.raises(NotWatched, match="other"):
        reader.state("other")


def test_a_server_with_more_partitions_gives_a_snapshot_that_replaces_all(reader: Reader) -> None:
    """Positions of other partitions are not compared."""
    reader.connect("")
    for number in range(2):
        reader.take(event("rules", {"partition": number, "partitions": 2, "position": None, "active": DEFAULT}))
    reader.take(ready())
    assert reader.state("acme") == "active"


def test_within_a_snapshot_the_later_position_counts() -> None:
    """A tenant that changes meanwhile is sent again; `gone` removes it."""
    reader = Reader()
    reader.take(rules() + state("a", record_of("one breaker", offset=5)) + state("b") + state("c"))
    reader.take(state("a", record_of("a staircase", offset=4)))
    reader.take(event("gone", {"tenant": "b", "position": "0:41"}) + event("gone", {"tenant": "c", "position": "0:43"}))
    reader.take(ready())
    assert [reader.state(tenant, T + 10_000) for tenant in "abc"] == ["freeze", "freeze", "active"]


# What is known


def test_before_anything_is_known(reader: Reader) -> None:
    """An error, or the answer that the caller gave, marked as stale. The name is checked first."""
    unready, other = Reader(), Reader(initial=TenantState("light", {"K": 7}))
    with pytest.raises(NotReady):
        unready.state("acme")
    assert other.tenants.at("acme", T) == TenantState("light", {"K": 7}, stale=True)
    for each in (unready, other, reader):
        for wrong in ("", "a b", "x" * 129, None, 7, ["acme"]):
            with pytest.raises(ValueError, match=r"^tenant"):
                each.state(wrong)  # type: ignore[arg-type]
    reader.tenants.forget("the reader was closed")
    with pytest.raises(NotReady, match="closed"):
        reader.state("acme")


def test_a_tenant_that_is_not_watched_is_an_error() -> None:
    """Never a silent `active`."""
    reader = Reader(["acme"], TenantState("light", {}))
    with pytest.raises(NotWatched):
        reader.state("other")
    reader.take(snapshot("acme", "other"))
    assert reader.state("acme") == "freeze"
    with pytest.raises(NotWatched):
        reader.state("other")


def test_parameters_cannot_be_changed_by_a_caller(reader: Reader) -> None:
    """Tenants share them."""
    with pytest.raises(TypeError):
        reader.tenants.at("acme", T).parameters["K"] = 7  # type: ignore[index]


def test_tenants_that_are_no_longer_listed_are_removed(reader: Reader) -> None:
    """A minute after their end, and their answers are the same before and after."""
    end = T + 930_000
    assert reader.tenants.at("acme", end) == TenantState("active", DEFAULT, stale=True)
    reader.take(event("time", {"now": end + 59_999}))
    assert reader.tenants.leaves_at("acme", ["freeze"], T) == T + 900_000
    reader.take(event("time", {"now": end + 120_000}))
    assert reader.tenants.leaves_at("acme", ["freeze"], T) is None
    assert reader.tenants.at("acme", end) == TenantState("active", DEFAULT, stale=True)


def test_when_a_tenant_leaves_some_states(reader: Reader) -> None:
    """By its forecast, over states that are no better."""
    reader.take(state("steps", record_of("a staircase", offset=99)))
    leaves = [reader.tenants.leaves_at("steps", states, T) for states in (["freeze"], ["freeze", "deep"], ["light"])]
    assert leaves == [T + 1_000, T + 2_500, T + 1_000]
    assert reader.tenants.leaves_at("steps", ["freeze", "deep", "light", "active"], T) is None
    assert reader.tenants.leaves_at("nobody", ["freeze"], T) is None
    assert Reader().tenants.leaves_at("acme", ["freeze"], T) is None


def test_what_changes_is_told_once(reader: Reader) -> None:
    """Names for single tenants, everything for rules and snapshots, nothing for what is old."""
    reader.take(state("other", record_of("one breaker", offset=50)) + state("acme", record_of("a staircase", offset=1)))
    assert reader.changed.take() == frozenset({"other"})
    reader.take(
        event("gone", {"tenant": "other", "position": "0:50"}) + event("gone", {"tenant": "no", "position": None})
    )
    assert reader.changed.take() == frozenset({"other"})
    reader.take(rules())
    assert reader.changed.take() == frozenset()
    reader.take(rules(1))
    assert reader.changed.take() is None
    reader.take(event("reset", {}, "") + snapshot())
    assert reader.changed.take() is None
    assert reader.changed.take() == frozenset()


# Time and tokens


def test_the_log_s_time_is_counted_on() -> None:
    """By the local clock, from the time that took the shortest way."""
    clock = LogClock()
    clock.learn(T, 10.0)
    assert clock.at(10.5) == T + 500
    clock.learn(T + 14_000, 25.0)  # One second late.
    assert clock.at(25.0) == T + 15_000
    clock.learn(T + 30_250, 40.0)
    assert clock.at(40.0) == T + 30_250
    for number in range(8):  # A clock of the log that was set back.
        clock.learn(T, 50.0 + number)
    assert clock.at(50.0) == T


def test_when_a_token_ends() -> None:
    """As far as its bearer can tell."""
    assert ends_at(token(1_795_334_400.5)) == 1_795_334_400_500
    for other in ("opaque", "a.b.c", "a.e30.c", token(1e300)[:-12] + "x", f"a.{to_json([1]).hex()}.c"):
        assert ends_at(other) is None
