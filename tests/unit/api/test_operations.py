"""Operations over HTTP: read, listed and cancelled, under `/api/operations` and `/api/util/sleep`."""

import pytest

from api.publish.receipt import Receipt
from schemas.claim import Claim
from schemas.events import CancelEvent
from schemas.operation import OperationRecord
from schemas.policy import BUILT_IN_RULES
from schemas.record import new_record
from schemas.state import SleepState
from tests.unit.api.conftest import World
from tests.unit.api.fakes import NOW, outcome

URL = "/api/util/sleep"
RECEIPT = Receipt("op-1", "acme", "operation", "deep", NOW, "ops@acme", None, None)


async def test_an_operation_completes_by_itself_for_a_reader(world: World) -> None:
    """The TTL ends without anything being written."""
    world.store.outcomes["acme", "op-1"] = outcome()
    world.clock.now = NOW + 60_000
    document = (await world.client.get("/api/operations/op-1")).json()
    assert (document["status"], document["finished_at"]) == ("completed", NOW + 60_000)


async def test_live_operations_are_the_claims_that_have_not_ended(world: World) -> None:
    """Oldest first; what fell due since the last event is gone."""
    claims = {}
    for number, expires_at in ((1, NOW + 60_000), (2, NOW + 60_000), (3, NOW - 1)):
        claim = Claim("operation", f"op-{number}", SleepState.deep, None, None, NOW - 9, expires_at, None, None)
        claims[claim.source, claim.key] = claim
        world.store.outcomes["acme", claim.key] = outcome(operation_id=claim.key, created_at=NOW - number)
    mode = Claim("mode", "mode", SleepState.light, None, None, NOW, None, None, None)
    record = new_record(BUILT_IN_RULES, NOW - 10)
    world.store.records["acme"] = record._replace(claims=claims | {("mode", "mode"): mode})
    documents = (await world.client.get(URL)).json()["operations"]
    assert [document["operation_id"] for document in documents] == ["op-2", "op-1"]


async def test_a_tenant_never_seen_has_no_operations(world: World) -> None:
    """An empty list, not 404."""
    assert (await world.client.get(URL)).json() == {"operations": []}


@pytest.mark.parametrize("url", ["/api/operations/op-1", f"{URL}/op-1"])
async def test_another_tenants_operation_is_as_unknown_as_none(world: World, url: str) -> None:
    """The same 404 to the byte, ids aside."""
    world.store.outcomes["globex", "op-1"] = outcome(tenant_id="globex")
    problems = [(await world.client.get(one)).json() for one in (url, url.replace("op-1", "op-9"))]
    assert [problem.pop("instance") for problem in problems]
    assert problems[0] == problems[1]
    assert (problems[0]["status"], problems[0]["code"]) == (404, "unknown_operation")


async def test_only_sleeps_are_found_under_sleep(world: World) -> None:
    """A mode command is an operation, but not a sleep."""
    world.store.outcomes["acme", "op-1"] = outcome(type="mode", expires_at=None)
    assert (await world.client.get(f"{URL}/op-1")).status_code == 404
    assert (await world.client.get("/api/operations/op-1")).json()["status"] == "completed"


@pytest.mark.parametrize("found", [outcome(), RECEIPT])
async def test_a_cancel_is_published_for_a_known_operation(
    world: World, monkeypatch: pytest.MonkeyPatch, found: OperationRecord | Receipt
) -> None:
    """Also while only its receipt is known."""
    if isinstance(found, Receipt):
        world.store.receipts["acme", "op-1"] = found
    else:
        world.store.outcomes["acme", "op-1"] = found
    world.replies.answer = outcome(type="cancel", expires_at=None, target_state=None)
    publish = world.log.publish

    async def publish_and_fold(partition: int, key: bytes, value: bytes) -> int | None:
        world.store.outcomes["acme", "op-1"] = outcome(cancelled_at=NOW)
        return await publish(partition, key, value)

    monkeypatch.setattr(world.log, "publish", publish_and_fold)
    response = await world.client.delete(f"{URL}/op-1")
    assert (response.status_code, response.json()["operation_id"]) == (200, "op-1")
    assert response.json()["status"] == "cancelled"
    [event] = world.log.events
    assert isinstance(event, CancelEvent)
    assert (event.data.cancels, event.data.operation_id) == ("op-1", "id-1")
    assert world.authoriser.questions[0].action == "sleep"


async def test_a_cancel_of_an_ended_operation_is_a_conflict(world: World) -> None:
    """The log says so."""
    world.store.outcomes["acme", "op-1"] = outcome(cancelled_at=NOW)
    world.replies.answer = outcome(type="cancel", refused=True, code="not_running")
    response = await world.client.delete(f"{URL}/op-1")
    assert (response.status_code, response.json()["code"]) == (409, "not_running")


async def test_a_cancel_of_an_unknown_operation_publishes_nothing(world: World) -> None:
    """404, for another tenant's too."""
    world.store.outcomes["globex", "op-1"] = outcome(tenant_id="globex")
    response = await world.client.delete(f"{URL}/op-1")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_operation")
    assert world.log.published == []


async def test_a_cancel_may_be_answered_later(world: World) -> None:
    """`Prefer` counts for a DELETE too."""
    world.store.outcomes["acme", "op-1"] = outcome()
    response = await world.client.delete(f"{URL}/op-1", headers={"Prefer": "respond-async"})
    assert (response.status_code, response.headers["preference-applied"]) == (202, "respond-async")


@pytest.mark.parametrize("redis", ["away", "without the operation", "without the cancel"])
async def test_a_cancel_that_is_done_is_never_told_as_one_that_was_not(
    world: World, monkeypatch: pytest.MonkeyPatch, redis: str
) -> None:
    """Redis goes away, or loses its last second, while the cancel is on its way: 202, and where to look."""
    world.store.outcomes["acme", "op-1"] = outcome()
    world.replies.answer = outcome(type="cancel", expires_at=None, target_state=None)
    publish = world.log.publish

    async def publish_and_break(partition: int, key: bytes, value: bytes) -> int | None:
        if redis == "away":
            world.store.down = {"operation"}
        elif redis == "without the operation":
            world.store.outcomes.clear()
        return await publish(partition, key, value)

    monkeypatch.setattr(world.log, "publish", publish_and_break)
    response = await world.client.delete(f"{URL}/op-1")
    assert response.status_code == 202
    assert response.headers["location"] == "/api/operations/id-1"
    assert (response.json()["type"], response.json()["status"]) == ("cancel", "completed")
    assert len(world.log.published) == 1


@pytest.mark.parametrize("method", ["operation", "tenant"])
async def test_reads_without_redis_are_503(world: World, method: str) -> None:
    """Never a guess."""
    world.store.down = {method}
    url = URL if method == "tenant" else "/api/operations/op-1"
    response = await world.client.get(url)
    assert (response.status_code, response.json()["code"]) == (503, "redis_unavailable")
