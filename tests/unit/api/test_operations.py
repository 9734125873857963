"""Operations over HTTP: read, listed and cancelled, under `/api/operations` and `/api/util/sleep`."""

import pytest
from msgspec.structs import replace

from api.commands.receipt import Receipt
from schemas.domain.claim import Claim
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import new_record
from schemas.domain.state import SleepState
from schemas.wire.events import CancelEvent
from schemas.wire.operation import OperationRecord
from tests.support.operations import outcome
from tests.support.times import NOW
from tests.unit.api.application import ApiOverFakes

URL = "/api/util/sleep"
RECEIPT = Receipt("op-1", "acme", "operation", "deep", NOW, "ops@acme", None, None)


async def test_an_operation_completes_by_itself_for_a_reader(api: ApiOverFakes) -> None:
    """The TTL ends without anything being written."""
    api.store.outcomes["acme", "op-1"] = outcome()
    api.clock.now = NOW + 60_000
    document = (await api.client.get("/api/operations/op-1")).json()
    assert (document["status"], document["finished_at"]) == ("completed", NOW + 60_000)


async def test_live_operations_are_the_claims_that_have_not_ended(api: ApiOverFakes) -> None:
    """Oldest first; what fell due since the last event is gone."""
    claims = {}
    for number, expires_at in ((1, NOW + 60_000), (2, NOW + 60_000), (3, NOW - 1)):
        claim = Claim("operation", f"op-{number}", SleepState.deep, None, None, NOW - 9, expires_at, None, None)
        claims[claim.source, claim.key] = claim
        api.store.outcomes["acme", claim.key] = outcome(operation_id=claim.key, created_at=NOW - number)
    mode = Claim("mode", "mode", SleepState.light, None, None, NOW, None, None, None)
    record = new_record(BUILT_IN_RULES, NOW - 10)
    api.store.records["acme"] = replace(record, claims=claims | {("mode", "mode"): mode})
    documents = (await api.client.get(URL)).json()["operations"]
    assert [document["operation_id"] for document in documents] == ["op-2", "op-1"]


async def test_a_tenant_never_seen_has_no_operations(api: ApiOverFakes) -> None:
    """An empty list, not 404."""
    assert (await api.client.get(URL)).json() == {"operations": []}


@pytest.mark.parametrize("url", ["/api/operations/op-1", f"{URL}/op-1"])
async def test_another_tenants_operation_is_as_unknown_as_none(api: ApiOverFakes, url: str) -> None:
    """The same 404 to the byte, ids aside."""
    api.store.outcomes["globex", "op-1"] = outcome(tenant_id="globex")
    problems = [(await api.client.get(one)).json() for one in (url, url.replace("op-1", "op-9"))]
    assert [problem.pop("instance") for problem in problems]
    assert problems[0] == problems[1]
    assert (problems[0]["status"], problems[0]["code"]) == (404, "unknown_operation")


async def test_only_sleeps_are_found_under_sleep(api: ApiOverFakes) -> None:
    """A mode command is an operation, but not a sleep."""
    api.store.outcomes["acme", "op-1"] = outcome(type="mode", expires_at=None)
    assert (await api.client.get(f"{URL}/op-1")).status_code == 404
    assert (await api.client.get("/api/operations/op-1")).json()["status"] == "completed"


@pytest.mark.parametrize("result", [outcome(), RECEIPT])
async def test_a_cancel_is_published_for_a_known_operation(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, result: OperationRecord | Receipt
) -> None:
    """Also while only its receipt is known."""
    if isinstance(result, Receipt):
        api.store.receipts["acme", "op-1"] = result
    else:
        api.store.outcomes["acme", "op-1"] = result
    api.replies.answer = outcome(type="cancel", expires_at=None, target_state=None)
    publish = api.log.publish

    async def publish_and_fold(partition: int, key: bytes, value: bytes) -> int | None:
        api.store.outcomes["acme", "op-1"] = outcome(cancelled_at=NOW)
        return await publish(partition, key, value)

    monkeypatch.setattr(api.log, "publish", publish_and_fold)
    response = await api.client.delete(f"{URL}/op-1")
    assert (response.status_code, response.json()["operation_id"]) == (200, "op-1")
    assert response.json()["status"] == "cancelled"
    [event] = api.log.events
    assert isinstance(event, CancelEvent)
    assert (event.data.cancels, event.data.operation_id) == ("op-1", "id-1")
    assert api.authoriser.questions[0].action == "sleep"


async def test_a_cancel_of_an_ended_operation_is_a_conflict(api: ApiOverFakes) -> None:
    """The log says so."""
    api.store.outcomes["acme", "op-1"] = outcome(cancelled_at=NOW)
    api.replies.answer = outcome(type="cancel", refused=True, code="not_running")
    response = await api.client.delete(f"{URL}/op-1")
    assert (response.status_code, response.json()["code"]) == (409, "not_running")


async def test_a_cancel_of_an_unknown_operation_publishes_nothing(api: ApiOverFakes) -> None:
    """404, for another tenant's too."""
    api.store.outcomes["globex", "op-1"] = outcome(tenant_id="globex")
    response = await api.client.delete(f"{URL}/op-1")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_operation")
    assert api.log.published == []


async def test_a_cancel_may_be_answered_later(api: ApiOverFakes) -> None:
    """`Prefer` counts for a DELETE too."""
    api.store.outcomes["acme", "op-1"] = outcome()
    response = await api.client.delete(f"{URL}/op-1", headers={"Prefer": "respond-async"})
    assert (response.status_code, response.headers["preference-applied"]) == (202, "respond-async")


@pytest.mark.parametrize("redis", ["away", "without the operation", "without the cancel"])
async def test_a_cancel_that_is_done_is_never_told_as_one_that_was_not(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, redis: str
) -> None:
    """Redis goes away, or loses its last second, while the cancel is on its way: 202, and where to look."""
    api.store.outcomes["acme", "op-1"] = outcome()
    api.replies.answer = outcome(type="cancel", expires_at=None, target_state=None)
    publish = api.log.publish

    async def publish_and_break(partition: int, key: bytes, value: bytes) -> int | None:
        if redis == "away":
            api.store.down = {"operation"}
        elif redis == "without the operation":
            api.store.outcomes.clear()
        return await publish(partition, key, value)

    monkeypatch.setattr(api.log, "publish", publish_and_break)
    response = await api.client.delete(f"{URL}/op-1")
    assert response.status_code == 202
    assert response.headers["location"] == "/api/operations/id-1"
    assert (response.json()["type"], response.json()["status"]) == ("cancel", "completed")
    assert len(api.log.published) == 1


@pytest.mark.parametrize("method", ["operation", "tenant"])
async def test_reads_without_redis_are_503(api: ApiOverFakes, method: str) -> None:
    """Never a guess."""
    api.store.down = {method}
    url = URL if method == "tenant" else "/api/operations/op-1"
    response = await api.client.get(url)
    assert (response.status_code, response.json()["code"]) == (503, "redis_unavailable")
