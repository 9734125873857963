"""Breaker events as this command line emits them."""

import uuid
from typing import Any, Final, NamedTuple

from schemas.cloudevents import UndecodableError, decode, encode
from schemas.events import BREAKER
from schemas.partition import partition_of
from sleepctl.errors import WRONG_SETTINGS, CommandError
from sleepctl.records import SOURCE, Log
from sleepctl.wording import in_words

_OPTIONS: Final = {
    f"{BREAKER}.subject": "--tenant",
    f"{BREAKER}.data.breaker": "--name",
    f"{BREAKER}.data.instance": "--instance",
    f"{BREAKER}.data.cause": "--cause",
    f"{BREAKER}.data.occurred_at": "--occurred-at",
}


class Emitted(NamedTuple):
    """Where a record landed, and its CloudEvent's id."""

    event_id: str
    topic: str
    partition: int
    offset: int


def breaker_event(tenant: str, data: dict[str, Any], event_id: str) -> bytes:
    """Return a structured `sleep.breaker.v1` event; absent values of `data` are left out.

    Raises:
        CommandError: naming each wrong field.
    """
    present = {name: value for name, value in data.items() if value is not None}
    value = encode(type_=BREAKER, id_=event_id, source=SOURCE, subject=tenant, time=None, data=present)
    try:
        decode(tenant.encode(), value, ())
    except UndecodableError as error:
        raise CommandError(in_words(str(error), _OPTIONS), WRONG_SETTINGS) from None
    return value


async def emit(log: Log, topic: str, tenant: str, data: dict[str, Any]) -> Emitted:
    """Append a breaker event to a topic, in the partition that Kafka's default partitioner gives the tenant.

    Raises:
        CommandError: if the event is wrong, the topic missing, or the record not acknowledged.
    """
    event_id = str(uuid.uuid4())
    value = breaker_event(tenant, data, event_id)
    partition = partition_of(tenant, await log.partitions(topic))
    return Emitted(event_id, topic, partition, await log.append(topic, partition, tenant.encode(), value))
