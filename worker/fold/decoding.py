"""Decodes records of the log, and tells which records and commands must be loaded to fold their events. Pure."""

import traceback
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeGuard

from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable
from schemas.wire.cloudevents import UndecodableError, decode
from schemas.wire.events import CANCEL, CommandEvent
from schemas.wire.operation import COMMAND_TYPES
from schemas.wire.usual_breaker import AnyEvent, read_usual_breaker
from worker.ports import OperationKey


class Decoded(NamedTuple):
    """A record of the log with its event, or with the reason why it has none.

    `tenant` is the tenant whose record the event is folded onto; None for rules, and without an event.
    """

    record: SourceRecord
    event: AnyEvent | Failure
    tenant: str | None = None


class Decoder:
    """Decodes records. It caches which keys belong to the partition, since the hash is slow."""

    _CACHED_KEYS: Final = 100_000

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition = partition
        self._partitions = partitions
        self._own_keys: set[str] = set()

    def decode(self, record: SourceRecord) -> Decoded:
        """Return the record with its event, or with the reason why it becomes a dead letter."""
        if isinstance(record, Unreadable):
            return Decoded(record, record.failure)
        try:
            key, value, headers = record.key, record.value, record.headers
            event = read_usual_breaker(key, value, headers) or decode(key, value, headers)
        except UndecodableError as error:
            return Decoded(record, Failure(error.code, str(error)))
        except Exception:  # noqa: BLE001 - an error of our decoder must not stop the partition
            return Decoded(record, Failure("decode_failed", traceback.format_exc(), ours=True))
        tenant = event.subject
        if tenant is not None and tenant not in self._own_keys:
            owner = partition_of(tenant, self._partitions)
            if owner != self._partition:
                message = f"{tenant} belongs to partition {owner}: set the producer's partitioner to murmur2"
                return Decoded(record, Failure("wrong_partition", message))
            if len(self._own_keys) >= self._CACHED_KEYS:
                self._own_keys.clear()
            self._own_keys.add(tenant)
        return Decoded(record, event, tenant)


def tenants_of(decoded: Iterable[Decoded]) -> list[str]:
    """Return the tenants whose records are needed, each once."""
    return list(dict.fromkeys(item.tenant for item in decoded if item.tenant is not None))


def operations_of(decoded: Iterable[Decoded]) -> list[OperationKey]:
    """Return the commands that must be looked up among the remembered ones, each once."""
    keys: dict[OperationKey, None] = {}
    for item in decoded:
        event = item.event
        if not isinstance(event, Failure) and is_command(event):
            keys |= dict.fromkeys(operations_named(event))
    return list(keys)


def is_command(event: AnyEvent) -> TypeGuard[CommandEvent]:
    """Tell whether an event is a command, by its type: `isinstance` of another pydantic model is slow."""
    return event.type in COMMAND_TYPES


def operations_named(event: CommandEvent) -> list[OperationKey]:
    """Return the commands that a command names: itself, and the one that it cancels."""
    own = event.subject, event.data.operation_id
    return [own, (event.subject, event.data.cancels)] if event.type == CANCEL else [own]
