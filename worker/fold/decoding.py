"""Decodes records of the log, and tells which records and commands must be loaded to fold their events. Pure."""

import traceback
from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable
from schemas.wire.cloudevents import UndecodableError, decode
from schemas.wire.events import CancelEvent, Command, Event, RulesEvent
from worker.ports import OperationKey


class Decoded(NamedTuple):
    """A record of the log with its event, or with the reason why it has none."""

    record: SourceRecord
    event: Event | Failure


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
            event = decode(record.key, record.value, record.headers)
        except UndecodableError as error:
            return Decoded(record, Failure(error.code, str(error)))
        except Exception:  # noqa: BLE001 - an error of our decoder must not stop the partition
            return Decoded(record, Failure("decode_failed", traceback.format_exc(), ours=True))
        if not isinstance(event, RulesEvent) and event.subject not in self._own_keys:
            owner = partition_of(event.subject, self._partitions)
            if owner != self._partition:
                message = f"{event.subject} belongs to partition {owner}: set the producer's partitioner to murmur2"
                return Decoded(record, Failure("wrong_partition", message))
            if len(self._own_keys) >= self._CACHED_KEYS:
                self._own_keys.clear()
            self._own_keys.add(event.subject)
        return Decoded(record, event)


def tenants_of(decoded: Iterable[Decoded]) -> list[str]:
    """Return the tenants whose records are needed, each once."""
    return list(
        dict.fromkeys(item.event.subject for item in decoded if not isinstance(item.event, RulesEvent | Failure))
    )


def operations_of(decoded: Iterable[Decoded]) -> list[OperationKey]:
    """Return the commands that must be looked up among the remembered ones, each once."""
    keys: dict[OperationKey, None] = {}
    for item in decoded:
        event = item.event
        if isinstance(event, RulesEvent | Failure) or not isinstance(event.data, Command):
            continue
        keys[event.subject, event.data.operation_id] = None
        if isinstance(event, CancelEvent):
            keys[event.subject, event.data.cancels] = None
    return list(keys)
