"""Formats of libraries through a real Kafka and a real API, to the states of their tenants."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.services import Namespace, Services
from tests.support.administration import dead_letters_of
from tests.support.emitted import emitted
from tests.support.installation import ApiClient, Installation
from worker.ports import Output

pytestmark = [pytest.mark.needs_kafka, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

TOPICS: Final = (
    {"topic": "actuator", "format": "resilience4j", "tenant": "pattern:{tenant}.{service}"},
    {"topic": "hystrix", "format": "hystrix", "tenant": "header:Tenant"},
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reading(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """A worker that reads a topic of resilience4j and a topic of Hystrix."""
    directory: Path = tmp_path_factory.mktemp("formats")
    async with Installation.open(services, module_namespace, directory, partitions=2) as opened:
        prefix = opened.settings.topic_prefix
        topics = [topic | {"topic": f"{prefix}.{topic['topic']}"} for topic in TOPICS]
        admin = AIOKafkaAdminClient(bootstrap_servers=opened.settings.kafka_bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic["topic"], 1, 1) for topic in topics])
        await admin.close()
        opened.start("worker", SLEEP_INGRESS=json.dumps(topics))
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(reading: Installation) -> ApiClient:
    """The API in front of it."""
    return await reading.open_door()


def _client(api: ApiClient) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {api.token('platform', 'sleep:emit-any sleep:read-any')}"}
    return httpx.AsyncClient(base_url=api.url, headers=headers, timeout=30.0)


async def _becomes(api: ApiClient, tenant: str, state: str) -> dict[str, Any]:
    """Wait until a tenant has a state, and return what the API says."""
    async with asyncio.timeout(60), _client(api) as client:
        while True:
            answer = await client.get("/api/brain/sleep_mode", headers={"X-Tenant-Id": tenant})
            document: dict[str, Any] = answer.json()
            if answer.status_code == 200 and document["state"] == state:
                return document
            await asyncio.sleep(0.1)


async def _write(installation: Installation, topic: str, key: bytes, document: Any, tenant: bytes = b"") -> None:  # noqa: ANN401 - any JSON
    output = Output(key, json.dumps(document).encode(), [("tenant", tenant)])
    await installation.outputs.send(f"{installation.settings.topic_prefix}.{topic}", 0, [output])


def _transition(name: str, transition: str) -> Any:  # noqa: ANN401 - JSON
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    [example] = [each for each in emitted("resilience4j") if b"OPEN_TO_HALF_OPEN" in each.value][:1]
    changed = {"circuitBreakerName": name, "stateTransition": transition, "creationTime": f"{now}Z[Etc/UTC]"}
    return example.document | changed


async def test_a_breaker_of_resilience4j_freezes_and_wakes_its_tenant(reading: Installation, api: ApiClient) -> None:
    """The tenant is in the breaker's name, and the process is the record's key."""
    await _write(reading, "actuator", b"pod-1", _transition("shop.payments", "CLOSED_TO_OPEN"))
    assert (await _becomes(api, "shop", "freeze"))["cause"] == {"kind": "breaker", "key": "shop.payments@pod-1"}
    await _write(reading, "actuator", b"pod-2", _transition("shop.payments", "OPEN_TO_CLOSED"))
    await _write(reading, "actuator", b"pod-1", _transition("shop.payments", "OPEN_TO_HALF_OPEN"))
    await _becomes(api, "shop", "light")
    await _write(reading, "actuator", b"pod-1", _transition("shop.payments", "HALF_OPEN_TO_CLOSED"))
    await _becomes(api, "shop", "active")


async def test_samples_of_hystrix_are_forwarded_as_changes(reading: Installation, api: ApiClient) -> None:
    """Forty samples of a stream make two events, and the tenant follows."""
    closed, opened = (emitted("hystrix")[index].document for index in (0, 2))
    before = await reading.length(reading.settings.topics.events)
    for state, sample in (("freeze", opened), ("active", closed)):
        for _ in range(20):
            await _write(reading, "hystrix", b"pod-1", sample | {"currentTime": round(time.time() * 1_000)}, b"bank")
        await _becomes(api, "bank", state)
    assert await reading.length(reading.settings.topics.events) - before == 2


async def test_a_record_of_another_shape_is_a_dead_letter_and_the_next_passes(
    reading: Installation, api: ApiClient
) -> None:
    """It names the format and the field."""
    await _write(reading, "actuator", b"pod-1", _transition("payments", "CLOSED_TO_OPEN"))
    await _write(reading, "actuator", b"pod-1", _transition("next.payments", "CLOSED_TO_OPEN"))
    await _becomes(api, "next", "freeze")
    async with asyncio.timeout(60):
        while not (letters := await dead_letters_of(reading)):
            await asyncio.sleep(0.2)
    [letter] = letters
    assert (letter.code, letter.topic) == ("invalid_event", f"{reading.settings.topic_prefix}.actuator")
    assert letter.message == "resilience4j: circuitBreakerName: must match the pattern {tenant}.{service}"


async def test_a_webhook_of_alertmanager_freezes_and_wakes_its_tenants(api: ApiClient) -> None:
    """An alert without a tenant is passed over, and what resolves in part wakes only its own tenant."""
    firing, partly, _ = (each.value for each in emitted("alertmanager"))
    async with _client(api) as client:
        for webhook, acme, globex in ((firing, "freeze", "freeze"), (partly, "active", "freeze")):
            answer = await client.post(
                "/api/breakers/alertmanager", content=webhook, headers={"Content-Type": "application/json"}
            )
            assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
            await _becomes(api, "acme", acme)
            await _becomes(api, "globex", globex)
        metrics = (await client.get("/metrics")).text
    assert 'sleep_api_reports_skipped_total{format="alertmanager",reason="no_tenant"} 2.0' in metrics
