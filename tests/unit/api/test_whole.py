"""What Redis has lost is unavailable; what never was is awake."""

import httpx
import pytest

from api.adapters.dependency import UnavailableError
from api.queries.completeness import require_known
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.fakes import FakeLog, FakeStore, Pauses


@pytest.mark.parametrize(
    "path", ["/api/brain/sleep_mode", "/api/brain/sleep_policy", "/api/util/sleep", "/api/operations/op-1"]
)
async def test_a_partition_that_was_lost_is_unavailable(
    api: ApiOverFakes, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States of it were published, and Redis does not hold all of it: nothing is said of its tenants."""
    monkeypatch.setattr("api.queries.completeness._PAUSE_SECONDS", 0.0)
    api.store.is_whole = api.log.fresh = False
    answer = await api.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (httpx.codes.SERVICE_UNAVAILABLE, "redis_unavailable")
    detail = answer.json()["detail"]
    assert detail == "Redis has no data of partition 3, so nothing is known of its tenants; try again"
    assert "does not answer" not in answer.text


async def test_a_partition_that_was_never_used_has_tenants_that_are_awake(api: ApiOverFakes) -> None:
    """A fresh installation answers before its first event."""
    api.store.is_whole = False
    answer = await api.client.get("/api/brain/sleep_mode")
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
    with pytest.raises(UnavailableError, match=r"partition 3 is incomplete .*sleepctl rebuild"):
        await require_known(store, log, 3, pauses)
    assert sum(pauses.seconds) < 0.5
