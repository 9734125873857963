"""A recorded log and everything that came of it: how one is made, written down and folded again."""

import random
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json, to_json

from schemas.domain.deadlines import next_deadline, retires_at
from schemas.domain.record import LAYOUT
from schemas.redis.command_memory import LAYOUT as OPERATIONS_LAYOUT
from schemas.wire.cloudevents import STRUCTURED_HEADERS
from schemas.wire.events import CANCEL, MODE, OPERATION, TIMER
from schemas.wire.state_record import NEW_HEADER
from tests.support.batches import Lane, apply_all
from tests.support.events import event_bytes
from tests.support.load import rules_for_all, tenant_load
from tests.support.records import Sent, Source
from tests.support.times import DAY, HOUR, MINUTE, SECOND, T
from worker.ports import Output

HERE: Final = Path(__file__).parent
TENANTS: Final = 8
_EVENTS: Final = 400
# Short ones mostly, so that much happens while something lives, and now and then one that ends nearly everything.
_STEPS: Final = {0: 9, 1: 9, 40: 9, 400: 9, SECOND: 9, 3 * SECOND: 3, 20 * SECOND: 1, 2 * MINUTE: 1, 16 * MINUTE: 1}
_REPEATED: Final = 0.06
_CANCELLED: Final = 0.3
_RENEWED: Final = 0.4
_RULES: Final[dict[int, dict[str, Any]]] = {
    _EVENTS // 3: {"policy": {"ceiling": "deep", "min_sleep_seconds": 2}, "retire_after_seconds": 60},
    2 * _EVENTS // 3: {"policy": {"breakers": [{"match": "pay*", "quorum": 2}], "ramp_seconds": {"deepen": 1.5}}},
}


def make(seed: int) -> list[Source]:
    """Return a log of every type of event, good and bad, with two changes of the rules; the same for the same seed."""
    chance = random.Random(seed)
    log: list[Source] = []
    now = T
    for index, sent in enumerate(tenant_load(seed, _EVENTS, tenants=TENANTS, partitions=1, now=T)):
        now += chance.choices(list(_STEPS), list(_STEPS.values()))[0]
        if index in _RULES:
            _append(log, now, rules_for_all(index, _RULES[index], 1)[0])
        _append(log, now, sent)
        if chance.random() < _REPEATED:
            _append(log, now + 1, sent)
        if sent.tenant is not None and OPERATION.encode() in sent.value and chance.random() < _CANCELLED:
            data = {
                "operation_id": f"end-{index}",
                "cancels": from_json(sent.value)["data"]["operation_id"],
                "actor": "x",
            }
            value = event_bytes(CANCEL, data, sent.tenant, id_="c")
            _append(log, now + 2, Sent(sent.tenant, value, 0))
        if sent.tenant is not None and MODE.encode() in sent.value and chance.random() < _RENEWED:
            renewal = {"operation_id": f"again-{index}", "actor": "x", "reason": chance.choice(("as before", None))}
            value = event_bytes(MODE, from_json(sent.value)["data"] | renewal, sent.tenant, id_="m")
            _append(log, now + 3, Sent(sent.tenant, value, 0))
        if index % 10 == 0:
            now = _due(log, now)
    _due(log, now + 2 * HOUR)
    _due(log, now + 2 * DAY)
    return log


def _append(log: list[Source], now: int, sent: Sent) -> None:
    offset = log[-1].offset + 1 if log else 0
    log.append(Source(offset, now, None if sent.tenant is None else sent.tenant.encode(), sent.value))


def _due(log: list[Source], now: int) -> int:
    """Append the timers that the owner of the partition would have published by now; return the time after them."""
    lane = apply_all(log)
    for tenant in sorted(lane.packed):
        record = lane.record(tenant)
        assert record is not None
        terms = lane.rules[record.rules_number].terms_for(record.policy)
        due = next_deadline(record, terms) or retires_at(record, terms)
        if due is not None and due <= now:
            value = event_bytes(TIMER, {"due_at": due}, tenant, id_=f"timer:{due}")
            _append(log, now, Sent(tenant, value, 0))
            now += 1
    return now


def outcome(lane: Lane, every: Sequence[Output]) -> dict[str, Any]:
    """Return everything that a log was folded into, in a form that JSON can hold.

    Args:
        lane: the one that folded it.
        every: the states as commits of a record each would publish them.
    """
    every = list(map(_without_commit, every))
    last = {output.key: _without_commit(output) for output in lane.states}
    return {
        "layout": LAYOUT,
        "operations_layout": OPERATIONS_LAYOUT,
        "records": {tenant: packed.hex() for tenant, packed in sorted(lane.packed.items())},
        "operations": {"/".join(key): packed.hex() for key, packed in sorted(lane.operations.items())},
        "due": {tenant: lane.written[tenant].due for tenant in sorted(lane.packed)},
        "open_ended": {tenant: lane.written[tenant].open_ended for tenant in sorted(lane.packed)},
        "counts": lane.counts,
        # All that was published would take a megabyte; what a reader of the compacted topic is left with does not.
        "states": _outputs(last[output.key] for output in {output.key: output for output in every}.values()),
        "states_digest": sha256(to_json(_outputs(every))).hexdigest(),
        "tombstones": sum(output.value is None for output in every),
        "transitions": _outputs(lane.transitions),
        # Their message may be a traceback, which names lines of the code.
        "dead_letters": [
            [dict(output.headers)[f"sleep.error.{name}"].decode() for name in ("offset", "code")]
            for output in lane.dead_letters
        ],
    }


def _without_commit(output: Output) -> Output:
    """Return a state but for what tells of the commit that published it."""
    return output._replace(headers=tuple(header for header in output.headers if header[0] != NEW_HEADER))


def _outputs(outputs: Iterable[Output]) -> list[list[Any]]:
    return [
        [_text(output.key), _text(output.value), [[name, _text(content)] for name, content in output.headers]]
        for output in outputs
    ]


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode()


def write(path: Path, seed: int) -> None:
    """Record a history.

    Raises:
        FileExistsError: if there is one of this name: what was recorded is never changed.
    """
    log = make(seed)
    document = {
        "seed": seed,
        "log": [[item.offset, item.timestamp, _text(item.key), _text(item.value)] for item in log],
        "outcome": fold(log, ()),
    }
    with path.open("xb") as file:
        file.write(to_json(document, indent=1) + b"\n")


def read(path: Path) -> tuple[list[Source], dict[str, Any]]:
    """Return the log of a recorded history, and what it was folded into."""
    document = from_json(path.read_bytes())
    log = [
        Source(offset, timestamp, None if key is None else key.encode(), value.encode(), STRUCTURED_HEADERS)
        for offset, timestamp, key, value in document["log"]
    ]
    return log, document["outcome"]


def recorded() -> list[Path]:
    """Return the files of all recorded histories."""
    return sorted(HERE.glob("*.json"))


def fold(log: Sequence[Source], cuts: Iterable[int]) -> dict[str, Any]:
    """Return what a log is folded into today, in batches that end at the cuts."""
    return outcome(apply_all(log, cuts), apply_all(log, range(len(log))).states)
