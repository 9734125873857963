"""Breakers over HTTP and previews of a policy, through the log and back, on real services."""

from typing import Any, Final

import httpx
import pytest
from pydantic_core import from_json, to_json

from schemas.kafka.partitioner import partition_of
from tests.integration.conftest import PARTITIONS
from tests.support.installation import ApiClient, Installation

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL: Final = "/api/breakers/events"
BATCH: Final = "application/cloudevents-batch+json"
STRUCTURED: Final = "application/cloudevents+json"


def _client(door: ApiClient, tenant: str, scope: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {door.token(tenant, scope)}"}
    return httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0)


def _event(tenant: str, state: str, id_: str = "e-1", **data: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": id_,
        "source": "urn:shop",
        "type": "sleep.breaker.v1",
        "subject": tenant,
        "data": {"breaker": "payments", "instance": "pod-1", "state": state, **data},
    }


async def _post(client: httpx.AsyncClient, content: object, media_type: str = STRUCTURED) -> httpx.Response:
    return await client.post(URL, content=to_json(content), headers={"Content-Type": media_type})


async def _state(installation: Installation, client: httpx.AsyncClient, tenant: str) -> dict[str, Any]:
    await installation.caught_up()
    answer = await client.get("/api/brain/sleep_mode", headers={"X-Tenant-Id": tenant})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_a_breaker_without_kafka_freezes_its_tenant_and_wakes_it(
    installation: Installation, door: ApiClient
) -> None:
    """Structured, then binary; an older event that comes late changes nothing."""
    async with _client(door, "shop", "sleep:emit sleep:read") as client:
        answer = await _post(client, _event("shop", "open") | {"time": "2026-11-22T08:00:00Z"})
        assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
        result = await _state(installation, client, "shop")
        assert (result["state"], result["cause"]) == ("freeze", {"kind": "breaker", "key": "payments@pod-1"})
        closed = _event("shop", "closed")
        headers = {f"ce-{name}": value for name, value in closed.items() if name != "data"}
        headers |= {"ce-time": "2026-11-22T08%3A00%3A02Z"}
        assert (await client.post(URL, json=closed["data"], headers=headers)).status_code == 202
        assert (await _state(installation, client, "shop"))["state"] == "active"
        late = _event("shop", "open") | {"time": "2026-11-22T08:00:01Z"}
        assert (await _post(client, late)).status_code == 202
        assert (await _state(installation, client, "shop"))["state"] == "active"


async def test_a_batch_over_all_partitions_is_folded_in_its_order(installation: Installation, door: ApiClient) -> None:
    """By a token that may emit for any tenant; each tenant's last event holds."""
    tenants = [f"batch-{number}" for number in range(20)]
    assert {partition_of(tenant, PARTITIONS) for tenant in tenants} == set(range(PARTITIONS))
    states = ["open", "half_open", "closed", "open", "half_open"]
    events = [_event(tenant, state, f"{tenant}-{n}") for n, state in enumerate(states) for tenant in tenants]
    async with _client(door, "platform", "sleep:emit-any sleep:read-any") as client:
        before = await installation.ends()
        answer = await _post(client, events, BATCH)
        assert (answer.status_code, answer.json()) == (202, {"accepted": len(events)})
        after = await installation.ends()
        assert sum(after.values()) - sum(before.values()) == len(events)
        for tenant in tenants:
            assert (await _state(installation, client, tenant))["state"] == "light"
    for partition in range(PARTITIONS):
        records = await installation.read(installation.settings.topics.events, partition)
        batch = [from_json(record.value or b"") for record in records if (record.key or b"").startswith(b"batch-")]
        for tenant in tenants:
            mine = [event["data"]["state"] for event in batch if event["subject"] == tenant]
            assert mine == (states if partition == partition_of(tenant, PARTITIONS) else [])


@pytest.mark.parametrize(
    ("scope", "content", "status"),
    [
        ("sleep:emit", [_event("acme", "open"), _event("globex", "open")], 403),
        ("sleep:write", [_event("acme", "open")], 403),
        ("sleep:emit", [_event("acme", "open"), _event("acme", "open") | {"type": "sleep.mode.v1"}], 422),
        ("sleep:emit", [_event("acme", "open"), _event("acme", "ajar")], 422),
    ],
    ids=["another-tenant", "another-scope", "another-type", "no-state"],
)
async def test_a_batch_with_one_wrong_event_publishes_nothing(
    installation: Installation, door: ApiClient, scope: str, content: list[dict[str, Any]], status: int
) -> None:
    """Not even those that are right, under the policy that is shipped."""
    before = await installation.ends()
    async with _client(door, "acme", scope) as client:
        assert (await _post(client, content, BATCH)).status_code == status
    assert await installation.ends() == before


@pytest.mark.parametrize(
    "policy",
    [
        {"ceiling": "light"},
        {"enforce": False},
        {"breakers": [{"match": "pay*", "open": "deep"}], "ramp_seconds": {"wake": 0}},
        {"min_sleep_seconds": 600, "breakers": [{"match": "*", "open": "active"}], "floor": "light"},
    ],
    ids=["ceiling", "dry-run", "mapping", "hold"],
)
async def test_a_preview_shows_what_the_policy_then_does(
    installation: Installation, door: ApiClient, policy: dict[str, Any]
) -> None:
    """Before a policy is set, and after; nothing is published for it."""
    tenant = f"preview-{len(str(policy))}"
    async with door.client(tenant) as client, _client(door, tenant, "sleep:emit") as emitter:
        assert (await _post(emitter, _event(tenant, "open"))).status_code == 202
        before = await _state(installation, client, tenant)
        ends = await installation.ends()
        preview = await client.post("/api/brain/sleep_policy/preview", json=policy)
        assert preview.status_code == 200, preview.text
        assert await installation.ends() == ends
        put = await client.put("/api/brain/sleep_policy", json=policy, headers={"If-Match": '"0"'})
        assert put.status_code == 200, put.text
        after = await _state(installation, client, tenant)
    shown = preview.json()
    assert _timeless(shown["before"]) == _timeless(before)
    assert _timeless(shown["after"]) == _timeless(after)
    assert shown["after"]["position"] == before["position"]


def _timeless(shown: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the moment at which it was asked: the two were not asked at the same one."""
    left = {name: shown[name] for name in shown.keys() - {"now", "position", "since", "parameters", "forecast"}}
    return left | {"forecast": [entry["state"] for entry in shown["forecast"]]}
