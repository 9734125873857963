"""What Redis has lost is unavailable; what never was is awake."""

import httpx
import pytest

from api.operate.dependency import UnavailableError
from api.read.whole import require_known
from tests.unit.api.conftest import World
from tests.unit.api.fakes import FakeLog, FakeStore, Pauses


@pytest.mark.parametrize(
    "path", ["/api/brain/sleep_mode", "/api/brain/sleep_policy", "/api/util/sleep", "/api/operations/op-1"]
)
async def test_a_partition_that_was_lost_is_unavailable(
    world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States of it were published, and Redis does not hold all of it: nothing is said of its tenants."""
    monkeypatch.setattr("api.read.whole._PAUSE_SECONDS", 0.0)
    world.store.is_whole = world.log.fresh = False
    answer = await world.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (httpx.codes.SERVICE_UNAVAILABLE, "redis_unavailable")


async def test_a_partition_that_was_never_used_has_tenants_that_are_awake(world: World) -> None:
    """A fresh installation answers before its first event."""
    world.store.is_whole = False
    answer = await world.client.get("/api/brain/sleep_mode")
    assert (answer.status_code, answer.json()["state"]) == (httpx.codes.OK, "active")


async def test_a_first_commit_on_its_way_is_waited_for() -> None:
    """Its states are published a moment before."""
    store, log = FakeStore(), FakeLog()
    store.is_whole = log.fresh = False

    async def commit(_seconds: float) -> None:
        store.is_whole = True

    await require_known(store, log, 3, commit)


async def test_it_is_not_waited_for_for_long() -> None:
    """The finding names the partition and the command."""
    store, log, pauses = FakeStore(), FakeLog(), Pauses(99)
    store.is_whole = log.fresh = False
    with pytest.raises(UnavailableError, match=r"partition 3 is not whole .*sleepctl rebuild"):
        await require_known(store, log, 3, pauses)
    assert sum(pauses.seconds) < 0.5
