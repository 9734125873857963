"""The installation that a scenario plays on: Kafka, the API's clients, and the audit."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from pydantic_core import from_json

from schemas.errors import describe
from schemas.kafka.fetcher import AnyBytesConsumer
from schemas.settings import Settings
from sleepctl.demo.scenario import Trip
from sleepctl.io.api_client import Answer, ApiClient
from sleepctl.io.breaker_events import emit
from sleepctl.io.records import Log
from sleepctl.ui.errors import CommandError

# A transition is shown with the tenant after it, so the tenant is read until it has that position: at most so often.
_LOOKS: Final = 50
_LOOK_SECONDS: Final = 0.02
# The mock broker delays an empty fetch by this time, even if a record arrives.
_FETCH_WAIT_MS: Final = 50


class TransitionView(Protocol):
    """Shows transitions."""

    def transition(self, row: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        """Show a transition, and the tenant after it."""
        ...


async def read_transitions(
    settings: Settings, consumer: Callable[..., Any] = AnyBytesConsumer
) -> AsyncIterator[dict[str, Any]]:
    """Yield every row of the transitions topic from its start, and wait for more.

    Raises:
        CommandError: if Kafka does not answer.
    """
    reader = consumer(
        **settings.kafka_client(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=_FETCH_WAIT_MS,
    )
    topic = settings.topics.transitions
    try:
        await reader.start()
        reader.assign([TopicPartition(topic, number) for number in range(settings.partitions)])
        async for record in reader:
            yield from_json(record.value)
    except KafkaError as error:
        raise CommandError(f"the transitions cannot be read: {describe(error)}") from None
    finally:
        await reader.stop()


class DemoInstallation:
    """A running installation, for `player.Player`.

    Args:
        log: takes breaker events.
        topic: the ingress topic for them.
        tenants: a client of the API for each tenant, with the tenant's token.
        operator: a client of the API that may read every tenant.
    """

    def __init__(self, log: Log, topic: str, tenants: Mapping[str, ApiClient], operator: ApiClient) -> None:
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
        """Send a request with the tenant's token."""
        return await self._tenants[tenant].call(method, path, body=body, headers=headers)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def watch(self, rows: AsyncIterator[dict[str, Any]], view: TransitionView) -> None:
        """Record and show every transition, until `rows` ends.

        Raises:
            CommandError: if the API does not answer.
        """
        async for row in rows:
            if row["kind"] == "transition":
                view.transition(row, await self._after(row))
                self._transitions.append(row)

    async def _after(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the tenant after the row's event is applied; the audit is written just before that."""
        for _ in range(_LOOKS):
            answer = await self._operator.call("GET", "/api/brain/sleep_mode", tenant=row["tenant"])
            if answer.failed:
                raise CommandError(answer.problem())
            position = answer.document["position"]
            if position is not None and _offset(position) >= _offset(row["position"]):
                return answer.document
            await self.sleep(_LOOK_SECONDS)
        raise CommandError(f"tenant {row['tenant']} does not show its transition at {row['position']}")


def _offset(position: str) -> int:
    return int(position.partition(":")[2])
