"""The breaker events that `sleepctl` emits."""

import uuid
from typing import Any, Final, NamedTuple

from schemas.domain.state import breaker_state
from schemas.kafka.partitioner import partition_of
from schemas.wire.cloudevents import UndecodableError, decode, encode
from schemas.wire.events import BREAKER
from sleepctl.io.records import SOURCE, Log
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError
from sleepctl.ui.field_errors import by_option

_OPTIONS: Final = {
    f"{BREAKER}.subject": "--tenant",
    f"{BREAKER}.data.state": "the state",
    f"{BREAKER}.data.breaker": "--name",
    f"{BREAKER}.data.instance": "--instance",
    f"{BREAKER}.data.cause": "--cause",
    f"{BREAKER}.data.occurred_at": "--occurred-at",
}


class Emitted(NamedTuple):
    """The place of a record, and the id of its CloudEvent."""

    event_id: str
    topic: str
    partition: int
    offset: int


def breaker_event(tenant: str, data: dict[str, Any], event_id: str) -> bytes:
    """Return a structured `sleep.breaker.v1` event, without the values that are None.

    The state may have any common spelling.

    Raises:
        CommandError: naming each wrong field.
    """
    present = {name: value for name, value in data.items() if value is not None}
    if "state" in present:
        present["state"] = breaker_state(present["state"])
    value = encode(type_=BREAKER, id_=event_id, source=SOURCE, subject=tenant, time=None, data=present)
    try:
        decode(tenant.encode(), value, ())
    except UndecodableError as error:
        raise CommandError(by_option(error, _OPTIONS), WRONG_SETTINGS) from None
    return value


async def emit(log: Log, topic: str, tenant: str, data: dict[str, Any]) -> Emitted:
    """Append a breaker event to a topic, in the partition that Kafka's default partitioner gives the tenant.

    Raises:
        CommandError: if the event is wrong, the topic is missing, or the record is not acknowledged.
    """
    event_id = str(uuid.uuid4())
    value = breaker_event(tenant, data, event_id)
    partition = partition_of(tenant, await log.partitions(topic))
    return Emitted(event_id, topic, partition, await log.append(topic, partition, tenant.encode(), value))
