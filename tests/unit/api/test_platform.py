"""`GET /api/partitions` and `GET /api/history`, and where their numbers come from."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupAuthorizationFailedError, IncompatibleBrokerVersion, KafkaConnectionError

from api.adapters.dependency import UnavailableError
from api.adapters.kafka_group import KEPT_SECONDS, KafkaGroup, Owner, Owners
from api.adapters.redis_store import Totals
from api.observability.counts_history import EVERY_SECONDS, CountsHistory
from api.observability.lag import STALLED_MS
from schemas.settings import Settings
from tests.support.times import NOW
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.fakes import FakeClock

PARTITIONS = "/api/partitions"
HISTORY = "/api/history"


async def partition(api: ApiOverFakes, number: int) -> dict[str, Any]:
    """One partition of the list."""
    document = (await api.client.get(PARTITIONS)).json()
    assert [each["partition"] for each in document["partitions"]] == [*range(8)]
    found: dict[str, Any] = document["partitions"][number]
    return found


async def test_a_partition_has_its_owner_its_position_and_its_lag(api: ApiOverFakes) -> None:
    """One that was never used is as good as another."""
    api.store.applied, api.log.log_ends[3] = {3: 40}, 42
    assert await partition(api, 3) == {
        "partition": 3,
        "owner": {"member": "worker-1", "client": "sleep", "host": "10.0.0.7"},
        "position": 40,
        "end": 42,
        "lag": 2,
        "finding": None,
    }
    assert (await partition(api, 4))["finding"] is None
    assert {(question.action, question.tenant) for question in api.authoriser.questions} == {("inspect", None)}


async def test_an_event_that_is_applied_meanwhile_makes_no_lag_below_zero(api: ApiOverFakes) -> None:
    """The two are read one after the other."""
    api.store.applied = {3: 43}
    assert ((await partition(api, 3))["end"], (await partition(api, 3))["lag"]) == (43, 0)


async def test_each_thing_that_is_wrong_is_said(api: ApiOverFakes) -> None:
    """Who is woken at night learns where to look."""
    api.store.applied = {2: 0, 3: 40}
    api.store.lost = {2: "partition 2 is being rebuilt", 4: "Redis has no data of partition 4"}
    del api.group.answer.by_partition[1]
    api.lag.sample({3: 40}, {3: 42}, api.clock.now - STALLED_MS)
    api.log.fresh = False
    findings = {number: (await partition(api, number))["finding"] for number in range(6)}
    assert findings == {
        0: None,
        1: "no worker owns it",
        2: "partition 2 is being rebuilt; /status of its worker says why",
        3: "2 records wait, and none was applied for 5 s; /status of its worker says why",
        4: "Redis has no data of partition 4; /status of its worker says why",
        5: None,
    }
    api.log.fresh = True
    assert (await partition(api, 4))["finding"] is None
    assert (await partition(api, 2))["finding"] is not None


async def test_owners_that_are_unknown_are_not_absent(api: ApiOverFakes) -> None:
    """Nor while the workers share them out."""
    api.group.answer = Owners({}, "Kafka does not say")
    document = (await api.client.get(PARTITIONS)).json()
    assert document["owners"] == "Kafka does not say"
    assert {(each["owner"], each["finding"]) for each in document["partitions"]} == {(None, None)}
    api.group.answer = Owners({}, None, settled=False)
    assert "yet" in (await partition(api, 0))["finding"]


@pytest.mark.parametrize("dependency", ["redis", "kafka"])
async def test_without_positions_or_ends_there_is_no_list(api: ApiOverFakes, dependency: str) -> None:
    """A lag of zero would look good."""
    if dependency == "redis":
        api.store.down = {"positions"}
    else:
        api.log.down = UnavailableError("kafka", "refused")
    answer = await api.client.get(PARTITIONS)
    assert (answer.status_code, answer.json()["code"]) == (503, f"{dependency}_unavailable")


# The group, as Kafka describes it


class FakeAdmin:
    """As much of an administrative client as is used; `failure` is raised instead of an answer."""

    def __init__(self, members: list[tuple[Any, ...]], state: str = "Stable", code: int = 0) -> None:
        self.groups = [(code, "sleep-worker", state, "consumer", "range", members, -1)]
        self.failure: Exception | None = None
        self.asked = self.closed = 0

    async def start(self) -> None:
        """Connect."""

    async def describe_consumer_groups(self, _groups: list[str]) -> list[Any]:
        """Return the description."""
        self.asked += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return [self]

    async def close(self) -> None:
        """Disconnect, and have trouble doing so."""
        self.closed += 1
        raise KafkaConnectionError


def member(name: str, *partitions: int, topic: str = "sleep.events") -> tuple[Any, ...]:
    """A member of the group, with partitions of a topic and some of another."""
    assigned = [(topic, [*partitions]), ("sleep.other", [0, 1, 2])]
    encoded = ConsumerProtocolMemberAssignment(0, assigned, b"faust's own").encode()
    return name, "sleep", "/10.0.0.7", b"", encoded


def group(admin: FakeAdmin, now: Callable[[], float] = lambda: 0.0) -> KafkaGroup:
    """The group behind that client."""
    return KafkaGroup("sleep-worker", "sleep.events", lambda: admin, now)


async def test_the_owners_are_those_of_the_events_topic() -> None:
    """A member without an assignment, or with one that cannot be read, has none."""
    admin = FakeAdmin([member("a", 0, 2), member("b", 1), ("c", "", "", b"", b""), ("d", "", "", b"", b"\x00")])
    answer = await group(admin).owners()
    assert answer == Owners(
        {0: Owner("a", "sleep", "10.0.0.7"), 2: Owner("a", "sleep", "10.0.0.7"), 1: Owner("b", "sleep", "10.0.0.7")}
    )
    assert admin.closed == 1


@pytest.mark.parametrize(("state", "settled"), [("Stable", True), ("Empty", True), ("PreparingRebalance", False)])
async def test_a_group_in_motion_is_told_from_an_empty_one(state: str, *, settled: bool) -> None:
    """In motion nobody owns anything for a moment."""
    assert (await group(FakeAdmin([], state)).owners()).settled is settled


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (IncompatibleBrokerVersion("old"), 0, "the embedded broker cannot"),
        (KafkaConnectionError("refused"), 0, "Kafka does not say who is in group sleep-worker"),
        (None, GroupAuthorizationFailedError.errno, "GroupAuthorizationFailedError"),
        (TimeoutError(), 0, "did not say within 4 s"),
    ],
)
async def test_a_broker_that_does_not_say_makes_the_owners_unknown(
    failure: Exception | None, code: int, reason: str
) -> None:
    """The rest of the list is worth as much without them."""
    admin = FakeAdmin([], code=code)
    admin.failure = failure
    answer = await group(admin).owners()
    assert reason in (answer.unknown or "")
    assert admin.closed == 1


async def test_a_flood_asks_kafka_once() -> None:
    """Until the answer is old."""
    clock = FakeClock(0)
    admin = FakeAdmin([member("a", 0)])
    asked = group(admin, clock)
    await asyncio.gather(*(asked.owners() for _ in range(50)))
    assert admin.asked == 1
    clock.now = round(KEPT_SECONDS)
    await asked.owners()
    assert admin.asked == 2


def test_the_group_is_that_of_the_settings() -> None:
    """Nothing connects before it is asked for."""
    settings = Settings(kafka_bootstrap="broker:9092", redis_url="redis://store/0")  # type: ignore[arg-type] # as read
    assert isinstance(KafkaGroup.of(settings), KafkaGroup)


# The numbers of the last hour


def totals(asleep: int) -> Totals:
    """So many tenants in `deep`."""
    return Totals({"active": 1, "light": 0, "deep": asleep, "freeze": 0}, 2)


async def test_the_last_hour_is_shown_from_the_first_sample_on(api: ApiOverFakes) -> None:
    """A sample every ten seconds, whatever is read in between."""
    assert (await api.client.get(HISTORY)).json() == {"since": None, "every_seconds": 10, "samples": [], "now": NOW}
    for step in range(5):
        api.clock.now = NOW + 4_980 * step
        api.history.know(totals(step))
    document = (await api.client.get(HISTORY)).json()
    assert document["since"] == NOW
    assert [(each["at"] - NOW, each["counts"]["deep"], each["open_ended"]) for each in document["samples"]] == [
        (0, 0, 2),
        (9_960, 2, 2),
        (19_920, 4, 2),
    ]
    assert {(question.action, question.tenant) for question in api.authoriser.questions} == {("list", None)}


def test_an_hour_is_kept_and_no_more() -> None:
    """Memory is bounded, and old samples are not shown after a gap."""
    clock = FakeClock()
    history = CountsHistory(clock)
    for step in range(1_000):
        clock.now = NOW + step * EVERY_SECONDS * 1000
        history.know(totals(step))
    assert len(history.document()["samples"]) == 360
    clock.now += 1_800_000
    assert history.document()["since"] == clock.now - 3_600_000
    clock.now += 3_600_000
    assert history.document()["since"] is None


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    """Samples of a time to come are not shown."""
    clock = FakeClock()
    history = CountsHistory(clock)
    history.know(totals(1))
    clock.now -= 1_000_000
    history.know(totals(2))
    assert [each["counts"]["deep"] for each in history.document()["samples"]] == [2]
