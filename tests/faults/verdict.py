"""What must hold once a run is over and everybody has ended: see `tests.oracle`, and what callers were told."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from api.describe.kinds import REFUSALS
from schemas.cloudevents import UndecodableError, decode
from schemas.events import TimerEvent
from schemas.names import PartitionKeys
from tests.fakes import Held
from tests.faults.callers import Answer, Command
from tests.faults.emitters import ingress_id, is_rubbish
from tests.faults.past import Past
from tests.installation import Installation
from tests.oracle import Document, Found, as_audited, check_partition, offset_of
from tests.services import Client, redis_client
from worker.deadletter import SourceRecord

# Longer than a lane needs to send a timer again that was lost.
SLACK_MS: Final = 7_000
_OK: Final = 200
_ACCEPTED: Final = 202
# Nothing was published, so a command that was told nothing else is not in the log.
_NOT_PUBLISHED: Final = ("kafka_unavailable", "redis_unavailable", "opa_unavailable", "jwks_unavailable")
_TOLD: Final = (
    "operation_id", "tenant_id", "type", "target_state", "created_at", "expires_at", "code", "state",
    "previous_state", "position", "actor", "reason",
)  # fmt: skip


class Evidence(NamedTuple):
    """What a run has left, and what was said on the way.

    Attributes:
        pasts: the log, by partition.
        commands: what callers asked, and were answered.
        emitted: the ids of breaker events that an API has accepted.
        ended_at: when the last worker ended, ms.
    """

    pasts: list[Past]
    commands: list[Command]
    emitted: list[str]
    ended_at: int


async def judge(installation: Installation, evidence: Evidence, chance: random.Random) -> None:
    """Hold everything against the reference.

    Raises:
        AssertionError: if anything does not hold.
    """
    topics, partitions = installation.settings.topics, range(installation.settings.partitions)

    async def read(topic: str) -> list[list[SourceRecord]]:
        return await asyncio.gather(*(installation.read(topic, partition) for partition in partitions))

    states, transitions = await read(topics.states), await read(topics.transitions)
    redis = redis_client(installation.services.redis)
    try:
        for past in evidence.pasts:
            found = Found(
                partition=past.partition,
                partitions=len(partitions),
                log=past.records,
                states=states[past.partition],
                transitions=transitions[past.partition],
                held=await _held(redis, PartitionKeys(installation.settings.redis_prefix, past.partition)),
                now=evidence.ended_at,
                slack_ms=SLACK_MS,
                audited=past.cut,
            )
            check_partition(found, past.reference, chance)
            check_timers(past.records)
    finally:
        await redis.aclose()
    log = [record for past in evidence.pasts for record in past.records]
    ingress = [*chain.from_iterable(await read(topics.breakers))]
    check_dead_letters([*log, *ingress], chain.from_iterable(await read(topics.deadletter)))
    check_arrived(log, ingress, evidence.emitted)
    _check_commands(evidence)


async def _held(redis: Client, keys: PartitionKeys) -> Held:
    # A client's answers have the type of whatever was asked.
    client: Any = redis
    tenants = await client.hgetall(keys.tenants)
    counts = await client.hgetall(keys.counts)
    timers = await client.zrange(keys.timers, 0, -1, withscores=True)
    first = keys.operation("", "").removesuffix("/")
    operations: dict[tuple[str, str], tuple[bytes, int]] = {}
    async for key in client.scan_iter(f"{first}*", count=10_000):
        tenant, _, operation_id = key.decode().removeprefix(first).partition("/")
        operations[tenant, operation_id] = await client.get(key), 0
    return Held(
        progress=await client.hgetall(keys.progress),
        tenants={tenant.decode(): packed for tenant, packed in tenants.items()},
        timers={tenant.decode(): int(at) for tenant, at in timers},
        counts=Counter({state.decode(): int(count) for state, count in counts.items()}),
        open={tenant.decode() for tenant in await client.smembers(keys.open)},
        operations=operations,
    )


def check_timers(log: Iterable[SourceRecord]) -> None:
    """No timer came into the log before it was due."""
    for record in log:
        try:
            event = decode(record.key, record.value, record.headers)
        except UndecodableError:
            continue
        if isinstance(event, TimerEvent):
            early = event.data.due_at - record.timestamp
            assert early <= 0, f"the timer at {record.partition}:{record.offset} is {early} ms early"


def check_dead_letters(sent: Iterable[SourceRecord], letters: Iterable[SourceRecord]) -> None:
    """All that was sent as rubbish is a dead letter, and nothing else is; by topic, partition and offset."""
    rubbish = {(record.topic, record.partition, record.offset) for record in sent if is_rubbish(record.value)}
    found = set()
    for letter in letters:
        headers = {name: content.decode() for name, content in letter.headers}
        topic, partition, offset = (headers[f"sleep.error.{name}"] for name in ("topic", "partition", "offset"))
        found.add((topic, int(partition), int(offset)))
    assert found == rubbish, f"not sent as rubbish: {found - rubbish}; no dead letter: {rubbish - found}"


def check_arrived(log: Iterable[SourceRecord], ingress: Iterable[SourceRecord], emitted: Iterable[str]) -> None:
    """What came through ingress, and what an API accepted, is in the log."""
    there = {from_json(record.value)["id"] for record in log if record.value and not is_rubbish(record.value)}
    through = {id_ for record in ingress if (id_ := ingress_id(record.value)) is not None}
    assert not through - there, f"lost on ingress: {through - there}"
    lost = set(emitted) - there
    assert not lost, f"accepted by an API and not in the log: {lost}"


def _check_commands(evidence: Evidence) -> None:
    """What a caller was told is what the log says."""
    judged = {key: command for past in evidence.pasts for key, command in past.reference.commands.items()}
    cuts = {past.partition: past.cut for past in evidence.pasts}
    for command in evidence.commands:
        told = judged.get((command.tenant, command.operation_id))
        try:
            check_answers(command, told, judged, cuts)
        except AssertionError as error:
            history = "; ".join(f"{answer.status} {answer.code} {answer.document}" for answer in command.answers)
            raise AssertionError(f"{error}\n{command.request} of {command.tenant}: {history}\nlog: {told}") from error


def check_answers(
    command: Command, told: Document | None, judged: dict[tuple[str, str], Document], cuts: dict[int, int]
) -> None:
    """Hold every answer to a command against what came of it by the log, None where it is not there."""
    for answer in command.answers:
        assert answer.status not in (401, 403, 429, 500), "an answer that nobody should get"
        if answer.status == _ACCEPTED:
            assert told is not None, "accepted, and not in the log"
        elif answer.status == _OK:
            assert told is not None, "answered, and not in the log"
            assert not told["refused"], "answered, and refused in the log"
            _check_document(command, answer, told, judged, cuts)
        elif answer.code in REFUSALS:
            assert told is not None, "refused, and not in the log"
            assert told["code"] == answer.code, f"refused as {answer.code}, and in the log as {told['code']}"
    if command.answers and all(answer.code in _NOT_PUBLISHED for answer in command.answers):
        assert told is None, "nothing was published, it was said"


def _check_document(
    command: Command,
    answer: Answer,
    told: Document,
    judged: dict[tuple[str, str], Document],
    cuts: dict[int, int],
) -> None:
    if command.request.kind == "policy":
        return  # It shows the policy as it is then.
    if command.request.kind == "cancel":
        cancelled = command.request.path.rpartition("/")[2]
        told = judged[command.tenant, cancelled]
        assert told["cancelled_at"] is not None, "not cancelled in the log"
    partition = int(told["position"].partition(":")[0])
    if offset_of(told) < cuts[partition]:
        told = as_audited(told, answer.document)
    expected = {name: told[name] for name in _TOLD}
    found = {name: answer.document.get(name) for name in _TOLD}
    assert found == expected, "answered otherwise than judged"


def now_ms() -> int:
    """Return the time in milliseconds."""
    return time.time_ns() // 1_000_000
