"""The audit as it happens: a consumer of the transitions topic, and the doors that the scenario goes through."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic_core import from_json

from schemas.errors import describe
from schemas.settings import Settings
from sleepctl.breakers import emit
from sleepctl.client import Answer, Door
from sleepctl.errors import CommandError
from sleepctl.records import Log
from sleepctl.scenario import Trip

# A record is shown in the state that it left, so the tenant is looked at until it has that position; not for ever.
_LOOKS: Final = 50
_LOOK_SECONDS: Final = 0.02
# The mock broker holds an empty fetch for all of this, whatever arrives meanwhile.
_FETCH_WAIT_MS: Final = 50


class TransitionView(Protocol):
    """Where transitions are shown."""

    def transition(self, row: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        """Show a transition, and the tenant after it."""
        ...


async def read_transitions(
    settings: Settings, consumer: Callable[..., Any] = AIOKafkaConsumer
) -> AsyncIterator[dict[str, Any]]:
    """Yield every row of the transitions topic, from its start, as it arrives.

    Raises:
        CommandError: if Kafka does not answer.
    """
    reading = consumer(
        **settings.kafka_client(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=_FETCH_WAIT_MS,
    )
    topic = settings.topics.transitions
    try:
        await reading.start()
        reading.assign([TopicPartition(topic, number) for number in range(settings.partitions)])
        async for record in reading:
            yield from_json(record.value)
    except KafkaError as error:
        raise CommandError(f"the transitions cannot be read: {describe(error)}") from None
    finally:
        await reading.stop()


class Doors:
    """A running system as `player.Outside` wants it: a log for breakers, a token a tenant, and the audit so far.

    Args:
        log: where breaker events are written.
        topic: the ingress topic for them.
        tenants: a door a tenant, each with the tenant's own token.
        operator: a door that may look at any tenant.
    """

    def __init__(self, log: Log, topic: str, tenants: Mapping[str, Door], operator: Door) -> None:
        self._log = log
        self._topic = topic
        self._tenants = tenants
        self._operator = operator
        self._transitions: list[dict[str, Any]] = []

    @property
    def transitions(self) -> list[dict[str, Any]]:
        """The transitions in the audit so far."""
        return self._transitions

    async def trip(self, action: Trip) -> None:
        """Write a breaker event to Kafka."""
        data = {
            "breaker": action.name,
            "instance": action.instance,
            "state": action.state,
            "library": "sleepctl",
        }
        await emit(self._log, self._topic, action.tenant, data)

    async def request(
        self,
        tenant: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with the tenant's own token."""
        return await self._tenants[tenant].call(method, path, body=body, headers=headers)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def watch(self, rows: AsyncIterator[dict[str, Any]], view: TransitionView) -> None:
        """Note and show every transition until there are no more.

        Raises:
            CommandError: if the API does not answer.
        """
        async for row in rows:
            if row["kind"] == "transition":
                view.transition(row, await self._after(row))
                self._transitions.append(row)

    async def _after(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the tenant as it is once the row's event is applied; the audit is written just before that."""
        for _ in range(_LOOKS):
            answer = await self._operator.call("GET", "/api/brain/sleep_mode", tenant=row["tenant"])
            if answer.failed:
                raise CommandError(answer.problem())
            position = answer.document["position"]
            if position is not None and _offset(position) >= _offset(row["position"]):
                return answer.document
            await self.sleep(_LOOK_SECONDS)
        raise CommandError(f"{row['tenant']} does not show what happened at {row['position']}")


def _offset(position: str) -> int:
    return int(position.partition(":")[2])
