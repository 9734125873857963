"""Commands over HTTP, through the log and back, with an API and a worker on real services."""

import asyncio
from typing import Any

import pytest
from pydantic_core import from_json

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from schemas.wire.cloudevents import encode
from tests.integration.conftest import PARTITIONS
from tests.support.events import event_bytes
from tests.support.installation import ApiClient, Installation
from tests.support.load import rules_for_all
from tests.support.records import Sent
from worker.ports import Output

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="module")]


async def _audit(installation: Installation, tenant: str) -> list[dict[str, Any]]:
    partition = partition_of(tenant, PARTITIONS)
    records = await installation.read(installation.settings.topics.transitions, partition)
    return [row for row in (from_json(record.value or b"") for record in records) if row["tenant"] == tenant]


@pytest.mark.smoke
async def test_a_sleep_is_answered_with_its_outcome_and_ends_by_itself_never_early(
    installation: Installation, door: ApiClient
) -> None:
    """Synchronous: 200 and the operation; after its TTL the tenant is awake and the operation completed."""
    async with door.client("t-sync") as client:
        answer = await client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 1.2})
        operation = answer.json()
        assert (answer.status_code, operation["status"], operation["state"]) == (200, "running", "deep")
        assert operation["expires_at"] - operation["created_at"] == 1200
        assert (await client.get("/api/brain/sleep_mode")).json()["state"] == "deep"
        await asyncio.sleep(2.5)
        assert (await client.get("/api/brain/sleep_mode")).json()["state"] == "active"
        ended = (await client.get(f"/api/operations/{operation['operation_id']}")).json()
        assert (ended["status"], ended["finished_at"]) == ("completed", operation["expires_at"])
    [woke] = [row for row in await _audit(installation, "t-sync") if row["to"] == "active"]
    assert (woke["at"], woke["cause"]["kind"]) == (operation["expires_at"], "expired")
    [timer] = [
        record
        for record in await installation.read(installation.settings.topics.events, partition_of("t-sync", PARTITIONS))
        if record.key == b"t-sync" and b"sleep.timer.v1" in (record.value or b"")
    ]
    lag = timer.timestamp - operation["expires_at"]
    print(f"timer lag: {lag} ms")
    assert lag >= 0


async def test_an_asynchronous_sleep_is_accepted_and_found_at_its_location(door: ApiClient) -> None:
    """202 at once, then the operation itself; never 404 between."""
    async with door.client("t-async") as client:
        body = {"target_state": "light", "ttl_seconds": 60, "async_mode": True}
        answer = await client.post("/api/util/sleep", json=body)
        assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
        assert answer.headers["retry-after"]
        async with asyncio.timeout(10):
            while True:
                response = await client.get(answer.headers["location"])
                assert response.status_code == 200
                if response.json()["status"] == "running":
                    break
                await asyncio.sleep(0.01)


async def test_a_cancelled_sleep_ends_at_once(door: ApiClient) -> None:
    """200 and the cancelled operation; a second cancel is a conflict."""
    async with door.client("t-cancel") as client:
        body = {"target_state": "freeze", "ttl_seconds": 600}
        operation = (await client.post("/api/util/sleep", json=body)).json()
        answer = await client.delete(f"/api/util/sleep/{operation['operation_id']}")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert (await client.get("/api/brain/sleep_mode")).json()["state"] == "active"
        again = await client.delete(f"/api/util/sleep/{operation['operation_id']}")
        assert (again.status_code, again.json()["code"]) == (409, "not_running")
        assert (await client.get("/api/util/sleep")).json() == {"operations": []}


async def test_two_callers_at_once_are_both_answered_and_the_deeper_sleep_wins(door: ApiClient) -> None:
    """One ordered pipeline: two operations, one state."""
    async with door.client("t-two") as one, door.client("t-two") as two:
        answers = await asyncio.gather(
            one.post("/api/util/sleep", json={"target_state": "light", "ttl_seconds": 60}),
            two.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 60}),
        )
        assert [answer.status_code for answer in answers] == [200, 200]
        assert (await one.get("/api/brain/sleep_mode")).json()["state"] == "deep"
        assert len((await one.get("/api/util/sleep")).json()["operations"]) == 2


async def test_a_sleep_longer_than_the_policy_allows_is_refused_with_the_field(door: ApiClient) -> None:
    """422, and the refusal is remembered like any other outcome."""
    async with door.client("t-refused") as client:
        answer = await client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 4000})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "ttl_out_of_range")
        assert problem["errors"][0]["field"] == "ttl_seconds"
        outcome = (await client.get(answer.headers["location"])).json()
        assert (outcome["status"], outcome["code"]) == ("refused", "ttl_out_of_range")


async def test_a_policy_is_written_only_over_the_version_that_was_read(door: ApiClient) -> None:
    """`If-Match` is needed and must hold; a policy changes what breakers mean at once."""
    async with door.client("t-policy") as client:
        url = "/api/brain/sleep_policy"
        before = await client.get(url)
        assert (before.headers["etag"], before.json()["default"]) == ('"0"', True)
        assert (await client.put(url, json={"floor": "light"})).status_code == 428
        answer = await client.put(url, json={"floor": "light"}, headers={"If-Match": '"0"'})
        assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
        assert (await client.get("/api/brain/sleep_mode")).json()["state"] == "light"
        stale = await client.put(url, json={}, headers={"If-Match": '"0"'})
        assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")
        wrong = await client.put(url, json={"floor": "deep", "ceiling": "light"}, headers={"If-Match": "*"})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_policy")
        back = await client.delete(url, headers={"If-Match": '"1"'})
        assert (back.status_code, back.json()["default"]) == (200, True)


async def test_a_breaker_event_on_the_ingress_topic_reaches_its_tenant(
    installation: Installation, door: ApiClient
) -> None:
    """Any partition will do there; the tenant is the subject."""
    data = {"breaker": "payments", "instance": "pod-1", "state": "open", "cause": "5 of 10 calls timed out"}
    value = event_bytes(events.BREAKER, data, "t-breaker", id_="1", source="urn:t")
    topics = installation.settings.topics
    await installation.outputs.send(topics.breakers, 0, [Output(b"whatever", value)])
    async with door.client("t-breaker") as client, asyncio.timeout(20):
        while (state := (await client.get("/api/brain/sleep_mode")).json())["state"] != "freeze":
            await asyncio.sleep(0.05)
    assert (state["cause"], state["claims"][0]["reason"]) == (
        {"kind": "breaker", "key": "payments@pod-1"},
        "5 of 10 calls timed out",
    )


async def test_new_rules_reach_a_sleeping_tenant_without_an_event_of_its_own(
    installation: Installation, door: ApiClient
) -> None:
    """A ceiling of `active` in the rules wakes everyone but the pinned."""
    async with door.client("t-rules") as sleeper, door.client("t-pinned") as pinned, asyncio.timeout(30):
        await sleeper.post("/api/brain/sleep_mode", json={"target_state": "deep"})
        body = {"target_state": "deep", "override": True, "ttl_seconds": 600}
        await pinned.post("/api/brain/sleep_mode", json=body)
        await installation.write(rules_for_all(1, {"policy": {"ceiling": "active"}}, PARTITIONS))
        while (awake := (await sleeper.get("/api/brain/sleep_mode")).json())["state"] != "active":
            await asyncio.sleep(0.05)
        assert awake["cause"] == {"kind": "rules", "key": None}
        assert (await pinned.get("/api/brain/sleep_mode")).json()["state"] == "deep"
        await installation.write(rules_for_all(2, {}, PARTITIONS))


async def test_bad_records_become_dead_letters_and_the_next_record_is_applied(
    installation: Installation, door: ApiClient
) -> None:
    """Undecodable, wrong version, unknown type, foreign key, too large, bad tenant, NaN, wrong partition."""
    tenant = "t-bad"
    partition = partition_of(tenant, PARTITIONS)
    good = {"breaker": "b", "state": "open"}

    def event(**changes: Any) -> bytes:  # noqa: ANN401 - any attribute of the event
        attributes: dict[str, Any] = {
            "type_": events.BREAKER,
            "id_": "1",
            "source": "urn:t",
            "subject": tenant,
            "time": None,
        }
        return encode(**(attributes | {"data": good} | changes))

    bad = {
        "undecodable": Sent(tenant, b"{", partition),
        "invalid_event": Sent(tenant, event().replace(b'"1.0"', b'"0.3"'), partition),
        "unknown_type": Sent(tenant, event(type_="sleep.nap.v1"), partition),
        "wrong_key": Sent(tenant, event(subject="somebody-else"), partition),
        "oversize": Sent(tenant, event(data={**good, "library": "x" * 1_000_000})[:1_000_000], partition),
        "wrong_partition": Sent(tenant, event(), (partition + 1) % PARTITIONS),
    }
    also_bad = [
        Sent("not a tenant", event(subject="not a tenant"), partition),
        Sent(tenant, event().replace(b'"open"', b'"open","occurred_at":NaN'), partition),
    ]
    for record in (*bad.values(), *also_bad):
        await installation.write([record])
    async with door.client(tenant) as client:
        answer = await client.post("/api/util/sleep", json={"target_state": "light", "ttl_seconds": 60})
        assert (answer.status_code, answer.json()["state"]) == (200, "light")
    seen: dict[str, str] = {}
    for number in range(PARTITIONS):
        for letter in await installation.read(installation.settings.topics.deadletter, number):
            headers = {name: value.decode() for name, value in letter.headers}
            seen[headers["sleep.error.code"]] = headers["sleep.error.message"]
    assert set(bad) <= set(seen)
    assert "specversion" in seen["invalid_event"] or "subject" in seen["invalid_event"]
    assert "murmur2" in seen["wrong_partition"]


async def test_a_caller_who_waits_in_vain_is_sent_to_the_operation(installation: Installation, door: ApiClient) -> None:
    """With no worker, `Prefer: wait=1` ends in 202; when one is back, the operation is found at its location."""
    [worker] = [process for process in installation.processes if process.name == "worker" and process.running]
    await asyncio.to_thread(worker.stop)
    async with door.client("t-late") as client:
        body = {"target_state": "deep", "ttl_seconds": 60}
        answer = await client.post("/api/util/sleep", json=body, headers={"Prefer": "wait=1"})
        assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
        assert answer.json()["position"].startswith(f"{partition_of('t-late', PARTITIONS)}:")
        installation.start("worker")
        async with asyncio.timeout(30):
            while (response := (await client.get(answer.headers["location"])).json())["status"] == "accepted":
                await asyncio.sleep(0.1)
        assert (response["status"], response["state"]) == ("running", "deep")
