"""The audit as it happens, and the clients of the scenario."""

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from pydantic_core import to_json

from schemas.settings import Settings
from schemas.wire.cloudevents import decode
from sleepctl.demo.installation import DemoInstallation, read_transitions
from sleepctl.demo.scenario import Trip
from sleepctl.io.api_client import ApiClient
from sleepctl.ui.errors import CommandError
from tests.support.settings import settings_of
from tests.unit.sleepctl.fakes import FakeApi, FakeLog, FakeView, present, transition

Api = Callable[..., FakeApi]


@pytest.fixture
def settings() -> Settings:
    """Settings with four partitions."""
    return settings_of(partitions=4)


class FakeConsumer:
    """An aiokafka consumer over a list of rows, failing after them."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.options: dict[str, Any] = {}
        self.assigned: list[Any] = []
        self.stopped = False

    def __call__(self, **options: object) -> "FakeConsumer":
        self.options = options
        return self

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        self.stopped = True

    def assign(self, partitions: list[Any]) -> None:
        self.assigned = partitions

    async def __aiter__(self) -> AsyncIterator[Any]:
        for row in self._rows:
            yield SimpleNamespace(value=to_json(row))
        raise KafkaError("away")


async def test_every_partition_is_read_from_its_start_without_a_group(settings: Settings) -> None:
    """Nobody else's offsets are touched; a broker that goes away is told."""
    consumer = FakeConsumer([{"id": "0:1:0"}])
    rows = read_transitions(settings, consumer)
    assert await anext(rows) == {"id": "0:1:0"}
    with pytest.raises(CommandError, match="the transitions cannot be read: KafkaError: away"):
        await anext(rows)
    assert [(each.topic, each.partition) for each in consumer.assigned] == [
        ("sleep.transitions", number) for number in range(4)
    ]
    assert (consumer.options["group_id"], consumer.options["auto_offset_reset"]) == (None, "earliest")
    assert consumer.stopped


async def _rows(*rows: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for row in rows:
        yield row


def _doors(log: FakeLog | None = None) -> DemoInstallation:
    tenant, operator = ApiClient("http://api", "tenants"), ApiClient("http://api", "operators")
    return DemoInstallation(log or FakeLog(), "sleep.breakers", {"acme": tenant}, operator)


async def test_transitions_are_noted_and_shown_with_the_tenant_after_them(api: Api) -> None:
    """Refusals and outcomes are in the same audit and are no transitions."""
    fake = api(200, present("freeze", position="0:1"))
    apis, view = _doors(), FakeView()
    row = transition("acme", "active", "freeze", position="0:1")
    await apis.watch(_rows({"kind": "refusal"}, row), view)
    assert apis.transitions == [row]
    assert view.shown == [("transition", ("0:1:0", "freeze"))]
    assert fake.requests[0].headers["authorization"] == "Bearer operators"
    assert fake.requests[0].headers["x-tenant-id"] == "acme"


@pytest.mark.parametrize("position", [None, "0:0"])
async def test_a_tenant_that_never_shows_what_happened_is_told(
    api: Api, monkeypatch: pytest.MonkeyPatch, position: str | None
) -> None:
    """The audit is a moment ahead of the record; for ever would be a defect."""
    api(200, present(position=position))
    monkeypatch.setattr("sleepctl.demo.installation._LOOK_SECONDS", 0)
    with pytest.raises(CommandError, match="acme does not show its transition at 0:1"):
        await _doors().watch(_rows(transition("acme", "active", "freeze")), FakeView())


async def test_an_api_that_refuses_to_show_a_tenant_is_told(api: Api) -> None:
    """With its problem."""
    api(503, {"title": "Redis does not answer"})
    with pytest.raises(CommandError, match="Redis does not answer"):
        await _doors().watch(_rows(transition("acme", "active", "freeze")), FakeView())


async def test_a_trip_is_an_event_on_the_ingress_topic() -> None:
    """As any emitter sends it."""
    log = FakeLog(4)
    await _doors(log).trip(Trip("acme", "payments", "pod-1", "open"))
    ((topic, _, key, value),) = log.records
    event = decode(key, value, ())
    assert (topic, event.type) == ("sleep.breakers", "sleep.breaker.v1")


async def test_requests_go_through_the_tenants_own_door(api: Api) -> None:
    """The token says who the tenant is."""
    fake = api(200, {})
    await _doors().request("acme", "GET", "/x")
    assert fake.requests[0].headers["authorization"] == "Bearer tenants"
