"""The streams of the vectors for readers: events in order, and what a reader has to answer in between.

A step is one of these:

- `{"connect": id}`: a connection begins, with this `Last-Event-ID`, "" for none.
- `{"event": name, "id": id or null, "data": ...}`: an event comes.
- `{"ask": tenant, "at": ms, "answer": ...}`: the answer at a time of the log; null if the reader knows no states yet.
"""

from collections.abc import Iterator
from typing import Any, Final

from docs.generator.reader_records import DEFAULTS, RULES, T, record_of
from schemas.domain.record import Record
from schemas.kafka.partitioner import partition_of
from schemas.wire.reading import default_answer, read_state
from schemas.wire.tenant_view import state_record

_PARTITIONS: Final = 3
_TENANTS: Final = {partition_of(name, _PARTITIONS): name for name in (f"tenant-{number}" for number in range(9))}
_Steps = list[dict[str, Any]]


class _Script:
    """Writes the steps of a stream down, and answers from what is said to be known."""

    def __init__(self) -> None:
        self.steps: _Steps = []

    def connect(self, last_id: str = "") -> None:
        self.steps.append({"connect": last_id})

    def event(self, name: str, data: dict[str, Any], id_: str | None = None) -> None:
        self.steps.append({"event": name, "id": id_, "data": data})

    def rules(self, numbers: tuple[int, ...], offset: int | None = None) -> None:
        """Send the rules of each partition: 0 or 1."""
        for partition, number in enumerate(numbers):
            self.rules_of(partition, number, offset)

    def rules_of(self, partition: int, number: int, offset: int | None = None) -> None:
        self.event(
            "rules",
            {
                "partition": partition,
                "partitions": _PARTITIONS,
                "number": number,
                "position": None if offset is None else f"{partition}:{offset}",
                "active": DEFAULTS[number].as_json(),
            },
        )

    def state(self, tenant: str, record: Record, id_: str | None = None) -> None:
        terms = RULES[record.rules_number].terms_for(record.policy)
        self.event("state", state_record(tenant, partition_of(tenant, _PARTITIONS), record, terms), id_)

    def gone(self, tenant: str, offset: int) -> None:
        self.event("gone", {"tenant": tenant, "position": f"{partition_of(tenant, _PARTITIONS)}:{offset}"})

    def ready(self, now: int, id_: str = "7,8,9") -> None:
        self.event("ready", {"now": now}, id_)

    def time(self, now: int, id_: str | None = None) -> None:
        self.event("time", {"now": now}, id_)

    def ask(self, tenant: str, at: int, known: Record | int | None, default: int = 0) -> None:
        """Ask, where the reader has to know a record, or the tenant to be unlisted under rules, or nothing."""
        if known is None:
            answer = None
        elif isinstance(known, int):
            answer = default_answer(DEFAULTS[known])
        else:
            answer = read_state(tenant, known, RULES, DEFAULTS[default], at)
        self.steps.append({"ask": tenant, "at": at, "answer": answer})

    def ask_all(self, at: int, numbers: tuple[int, ...]) -> None:
        """Ask for an unlisted tenant of each partition."""
        for partition, number in enumerate(numbers):
            self.ask(_TENANTS[partition], at, number)


def streams() -> Iterator[dict[str, Any]]:
    """Yield each stream: its name and its steps."""
    for name, write in _STREAMS.items():
        script = _Script()
        write(script)
        yield {"name": name, "steps": script.steps}


def _snapshot(script: _Script) -> None:
    record = record_of("one breaker")
    script.connect()
    script.ask("acme", T, None)
    numbers = (0, 1, 0)
    script.rules(numbers)
    script.state("acme", record)
    script.ask("acme", T, None)
    script.ready(T)
    for at in (T - 1, T, T + 899_999, T + 900_000, T + 915_000, T + 929_999, T + 930_000, T + 10**9):
        script.ask("acme", at, record, default=numbers[partition_of("acme", _PARTITIONS)])
    for tenant in ("nobody", "a", "b", "c", "d", "e", "f"):
        script.ask(tenant, T, numbers[partition_of(tenant, _PARTITIONS)])


def _changes(script: _Script) -> None:
    first, second = record_of("one breaker", offset=10), record_of("a staircase", offset=12, at=T + 1_000)
    tenant = _TENANTS[0]
    script.connect()
    script.rules((0, 0, 0))
    script.ready(T)
    script.ask(tenant, T, 0)
    script.state(tenant, first)
    script.ask(tenant, T, first)
    script.state(tenant, second)
    script.ask(tenant, T + 1_500, second)
    script.state(tenant, first)  # A repeat after a crash: older than what is known.
    script.ask(tenant, T + 1_500, second)
    script.gone(tenant, 11)
    script.ask(tenant, T + 1_500, second)
    script.state(tenant, second)  # The same position again.
    script.ask(tenant, T + 2_000, second)
    script.gone(tenant, 12)
    script.ask(tenant, T + 2_000, 0)


def _large_offsets(script: _Script) -> None:
    older, newer = record_of("one breaker", offset=99), record_of("a staircase", offset=100)
    tenant = _TENANTS[1]
    script.connect()
    script.rules((0, 0, 0))
    script.state(tenant, newer)
    script.state(tenant, older)
    script.ready(T)
    script.ask(tenant, T + 10, newer)


def _rules_change(script: _Script) -> None:
    asleep, resting = record_of("one breaker"), record_of("a closed breaker", offset=50)
    sleeper, rested, own = _TENANTS[0], _TENANTS[1], _TENANTS[2]
    policy = record_of("one breaker", "hold")
    script.connect()
    script.rules((0, 0, 0))
    for tenant, record in ((sleeper, asleep), (rested, resting), (own, policy)):
        script.state(tenant, record)
    script.ready(T)
    script.ask(rested, T, 0)
    script.time(T + 1_000)
    script.rules((1, 1, 1))
    # Who was not listed takes the new set at once. Who is listed keeps its own until its state comes.
    script.ask(rested, T + 1_000, 1)
    script.ask("nobody", T + 1_000, 1)
    for at in (T + 1_000, T + 900_000, T + 940_000, T + 10**8):
        script.ask(sleeper, at, asleep, default=1)
        script.ask(own, at, policy, default=1)
    moved = record_of("one breaker", number=1, offset=60, at=T + 2_000)
    script.state(sleeper, moved)
    for at in (T + 2_000, T + 3_000, T + 902_000, T + 905_000, T + 909_000, T + 10**8):
        script.ask(sleeper, at, moved, default=1)


def _rules_of_one_partition(script: _Script) -> None:
    script.connect()
    script.rules((0, 0, 0))
    script.ready(T)
    script.rules_of(1, 1)
    script.ask_all(T, (0, 1, 0))
    script.rules_of(1, 0)
    script.ask_all(T, (0, 0, 0))


def _resume(script: _Script) -> None:
    tenant, other = _TENANTS[0], _TENANTS[2]
    first, second = record_of("one breaker", offset=10), record_of("two instances", offset=20)
    script.connect()
    script.rules((0, 0, 0))
    script.state(tenant, first)
    script.state(other, first)
    script.ready(T, "1,2,3")
    script.connect("1,2,3")
    script.rules((0, 0, 0))
    script.ask(tenant, T, first)
    script.state(tenant, second)
    script.gone(other, 15)
    script.ready(T + 5_000, "4,5,6")
    for at in (T + 5_000, T + 20_000, T + 45_000, T + 60_000):
        script.ask(tenant, at, second)
        script.ask(other, at, 0)


def _reset(script: _Script) -> None:
    kept, dropped, newer, older = "hooli", "acme", "globex", "umbrella"
    old, new = record_of("one breaker", offset=10), record_of("two instances", offset=30)
    script.connect()
    script.rules((0, 0, 0), 20)
    for tenant, record in ((kept, old), (dropped, old), (newer, new), (older, new)):
        script.state(tenant, record)
    script.ready(T, "1,2,3")
    script.connect("1,2,3")
    script.event("reset", {"reason": "too_old", "detail": "too many states have changed since"}, "")
    script.rules((1, 1, 1), 25)
    script.state(kept, record_of("a staircase", offset=24))
    script.state(older, record_of("a staircase", offset=24))
    # Nothing of a snapshot counts before it is complete.
    for tenant, record in ((kept, old), (dropped, old), (newer, new), (older, new)):
        script.ask(tenant, T, record)
    script.ask("nobody", T, 0)
    script.ready(T + 1, "4,5,6")
    script.ask(kept, T + 1, record_of("a staircase", offset=24), default=1)
    # It lacks one that is older, and another that is newer than the snapshot: Redis may have gone back.
    script.ask(dropped, T + 1, 1)
    script.ask(newer, T + 1, new, default=1)
    script.ask(older, T + 1, new, default=1)
    script.ask("nobody", T + 1, 1)


def _lost_snapshot(script: _Script) -> None:
    tenant = _TENANTS[0]
    old = record_of("one breaker", offset=10)
    script.connect()
    script.rules((0, 0, 0))
    script.state(tenant, old)
    script.ready(T, "1,2,3")
    script.connect("1,2,3")
    script.event("reset", {"reason": "beyond_end", "detail": "the states end before that id"}, "")
    script.rules((1, 1, 1))
    script.state(tenant, record_of("a staircase", offset=11))
    # The connection is lost before `ready`: nothing of it counts.
    script.connect()
    script.ask(tenant, T, old)
    script.ask("nobody", T, 0)
    script.rules((1, 1, 1))
    script.ready(T + 1, "4,5,6")
    script.ask(tenant, T + 1, old, default=1)
    script.ask("nobody", T + 1, 1)


def _unknown(script: _Script) -> None:
    record = record_of("one breaker")
    script.connect()
    script.event("weather", {"sunny": True})
    script.rules((0, 0, 0))
    terms = RULES[0].terms
    document = state_record("acme", partition_of("acme", _PARTITIONS), record, terms)
    script.event("state", document | {"mood": "new in a later release"})
    script.event("tomorrow", {}, None)
    script.ready(T)
    script.ask("acme", T, record)


_STREAMS: Final = {
    "a snapshot counts once it is complete": _snapshot,
    "of two states the one with the higher position counts": _changes,
    "offsets are compared as numbers": _large_offsets,
    "new rules": _rules_change,
    "new rules of one partition": _rules_of_one_partition,
    "a connection that goes on from an id": _resume,
    "a reset, and a snapshot of a Redis that has gone back": _reset,
    "a snapshot that is lost before its end": _lost_snapshot,
    "unknown events and fields are ignored": _unknown,
}
