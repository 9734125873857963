"""What must hold once a run is over and everybody has ended: see `tests.support.oracle`, and what callers were told."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from api.errors.catalog import REFUSALS
from schemas.kafka.source_record import SourceRecord
from schemas.names import PartitionKeys
from schemas.redis.command_memory import field_of
from schemas.wire.cloudevents import UndecodableError, decode
from schemas.wire.events import TimerEvent
from tests.faults.callers import Answer, Command
from tests.faults.emitters import ingress_id, is_rubbish
from tests.faults.past import Past
from tests.services import Client, redis_client
from tests.support.installation import Installation
from tests.support.oracle import Document, PartitionOutcome, as_audited, check_partition, offset_of
from tests.support.redis_contents import StoredPartition
from worker.ports import OperationKey
from worker.recovery.dead_letters import DeadLetter

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
_TEXTS: Final = ("actor", "reason", "trace_id")


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
            outcome = PartitionOutcome(
                partition=past.partition,
                partitions=len(partitions),
                log=past.records,
                states=states[past.partition],
                transitions=transitions[past.partition],
                stored=await _stored(
                    redis, PartitionKeys(installation.settings.redis_prefix, past.partition), past.reference.commands
                ),
                now=evidence.ended_at,
                slack_ms=SLACK_MS,
                audited=past.cut,
            )
            check_partition(outcome, past.reference, chance)
            check_timers(past.records)
    finally:
        await redis.aclose()
    log = [record for past in evidence.pasts for record in past.records]
    ingress = [*chain.from_iterable(await read(topics.breakers))]
    check_dead_letters([*log, *ingress], chain.from_iterable(await read(topics.deadletter)))
    check_arrived(log, ingress, evidence.emitted)
    _check_commands(evidence)


async def _stored(redis: Client, keys: PartitionKeys, commands: Iterable[OperationKey]) -> StoredPartition:
    # A client's answers have the type of whatever was asked.
    client: Any = redis
    tenants = await client.hgetall(keys.tenants)
    counts = await client.hgetall(keys.counts)
    timers = await client.zrange(keys.timers, 0, -1, withscores=True)
    fields = {field_of(*command): command for command in commands}
    packed = await client.hgetall(keys.operations)
    ends = await client.lrange(keys.ended, 0, -1)
    return StoredPartition(
        progress=await client.hgetall(keys.progress),
        tenants={tenant.decode(): packed for tenant, packed in tenants.items()},
        timers={tenant.decode(): int(at) for tenant, at in timers},
        counts=Counter({state.decode(): int(count) for state, count in counts.items()}),
        open={tenant.decode() for tenant in await client.smembers(keys.open)},
        operations={fields[field]: operation for field, operation in packed.items()},
        ended=[(int.from_bytes(end[:8], "big"), fields[end[8:]]) for end in ends],
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


def check_dead_letters(sent: Iterable[SourceRecord], dead_letters: Iterable[SourceRecord]) -> None:
    """All that was sent as rubbish is a dead letter, and nothing else is; by topic, partition and offset."""
    rubbish = {(record.topic, record.partition, record.offset) for record in sent if is_rubbish(record.value)}
    dead_lettered = set()
    for letter in map(DeadLetter.of, dead_letters):
        for first, last in letter.ranges:
            dead_lettered |= {(letter.topic, letter.partition, offset) for offset in range(first, last + 1)}
    assert dead_lettered == rubbish, (
        f"not sent as rubbish: {dead_lettered - rubbish}; no dead letter: {rubbish - dead_lettered}"
    )


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
        logged = judged.get((command.tenant, command.operation_id))
        try:
            check_answers(command, logged, judged, cuts)
        except AssertionError as error:
            history = "; ".join(f"{answer.status} {answer.code} {answer.document}" for answer in command.answers)
            raise AssertionError(f"{error}\n{command.request} of {command.tenant}: {history}\nlog: {logged}") from error


def check_answers(
    command: Command, logged: Document | None, judged: dict[tuple[str, str], Document], cuts: dict[int, int]
) -> None:
    """Hold every answer to a command against what came of it by the log, None where it is not there."""
    for answer in command.answers:
        assert answer.status not in (401, 403, 429, 500), "an answer that nobody should get"
        if answer.status == _ACCEPTED:
            assert logged is not None, "accepted, and not in the log"
        elif answer.status == _OK:
            assert logged is not None, "answered, and not in the log"
            assert not logged["refused"], "answered, and refused in the log"
            _check_document(command, answer, logged, judged, cuts)
        elif answer.code in REFUSALS:
            if logged is None:
                assert is_wrong_by_itself(command.request.body), "refused, and not in the log"
                continue
            assert logged["code"] == answer.code, f"refused as {answer.code}, and in the log as {logged['code']}"
    if command.answers and all(answer.code in _NOT_PUBLISHED for answer in command.answers):
        assert logged is None, "nothing was published, it was said"


def is_wrong_by_itself(body: Mapping[str, Any] | None) -> bool:
    """Tell whether a command's form alone is wrong, so that no API publishes it: of those that callers here send."""
    body = body or {}
    return body.get("ttl_seconds") == 0 or body.get("floor") == "no such state"


def _check_document(
    command: Command,
    answer: Answer,
    logged: Document,
    judged: dict[tuple[str, str], Document],
    cuts: dict[int, int],
) -> None:
    if command.request.kind == "policy":
        return  # It shows the policy as it is then.
    if command.request.kind == "cancel":
        cancelled = command.request.path.rpartition("/")[2]
        logged = judged[command.tenant, cancelled]
        assert logged["cancelled_at"] is not None, "not cancelled in the log"
    partition = int(logged["position"].partition(":")[0])
    if offset_of(logged) < cuts[partition]:
        logged = as_audited(logged, answer.document)
    shown = answer.document
    if shown.get("finished_at") is not None and all(shown.get(name) is None for name in _TEXTS):
        # Once a command is over, Redis has no texts of it: an answer that was looked up has none.
        logged = {**logged, **dict.fromkeys(_TEXTS)}
    expected = {name: logged[name] for name in _TOLD}
    assert {name: shown.get(name) for name in _TOLD} == expected, "answered otherwise than judged"


def now_ms() -> int:
    """Return the time in milliseconds."""
    return time.time_ns() // 1_000_000
