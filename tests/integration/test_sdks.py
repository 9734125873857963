"""Events that the official SDKs of CloudEvents write, over HTTP and over Kafka, up to the state that they make."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from schemas.kafka.partitioner import partition_of
from tests.support.installation import ApiClient, Installation
from tests.support.python_sdk import over_http, over_kafka

pytestmark = [
    pytest.mark.once,
    pytest.mark.needs_kafka,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

URL: Final = "/api/breakers/events"
JAVASCRIPT: Final = Path(__file__).parents[1] / "sdks" / "javascript"
_NPM_SECONDS: Final = 180.0
_NODE_SECONDS: Final = 60.0


class Ended(NamedTuple):
    """What a program did."""

    status: int
    out: str
    err: str


async def run(seconds: float, *command: str, folder: Path, stdin: str = "") -> Ended:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    return Ended(process.returncode or 0, out.decode(), err.decode())


def missing(reason: str) -> NoReturn:
    """Skip at home; fail where nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def javascript(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A folder with the JavaScript SDK, from the lock."""
    if shutil.which("node") is None or (npm := shutil.which("npm")) is None:
        missing("node or npm is not installed")
    folder = tmp_path_factory.mktemp("javascript")
    for name in ("package.json", "package-lock.json", "emit.mjs"):
        shutil.copy(JAVASCRIPT / name, folder)
    installed = await run(_NPM_SECONDS, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
    if installed.status:
        missing(f"npm ci failed: {installed.err.strip()[-500:]}")
    yield folder


async def states(installation: Installation, door: ApiClient, tenants: Iterable[str]) -> dict[str, str]:
    """Return what each tenant's state is, once all that was written is folded."""
    async with door.client("platform") as client:
        client.headers["Authorization"] = f"Bearer {door.token('platform', 'sleep:read-any')}"
        seen = {}
        async with asyncio.timeout(60):
            for tenant in tenants:
                # Ingress takes a moment to forward what was written to its topic.
                while (state := await _state(client, tenant)) == "active":
                    await asyncio.sleep(0.1)
                seen[tenant] = state
    await installation.caught_up()
    return seen


async def _state(client: httpx.AsyncClient, tenant: str) -> str:
    answer = await client.get("/api/brain/sleep_mode", headers={"X-Tenant-Id": tenant})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["state"])


async def test_every_event_of_the_javascript_sdk_is_taken(
    installation: Installation, door: ApiClient, javascript: Path
) -> None:
    """Binary, structured and in batches, by node's own HTTP client and by KafkaJS."""
    task = {
        "url": f"{door.url}{URL}",
        "token": door.token("platform", "sleep:emit-any"),
        "kafka": installation.settings.kafka_bootstrap,
        "topic": installation.settings.topics.breakers,
    }
    ended = await run(_NODE_SECONDS, "node", "emit.mjs", folder=javascript, stdin=json.dumps(task))
    assert ended.status == 0, ended.err
    reports: list[dict[str, Any]] = [json.loads(line) for line in ended.out.splitlines()]
    assert {report["text"] for report in reports if report.get("status", 202) != 202} == set()
    expected = {report["tenant"]: report["state"] for report in reports}
    assert len(expected) == 42
    assert await states(installation, door, expected) == expected
    assert await installation.length(installation.settings.topics.deadletter) == 0


async def test_every_event_of_the_python_sdk_is_taken(installation: Installation, door: ApiClient) -> None:
    """Of its present and of its earlier interface, over both bindings; by the log too, where the key is the tenant."""
    settings = installation.settings
    expected: dict[str, str] = {}
    async with door.client("platform") as client:
        client.headers["Authorization"] = f"Bearer {door.token('platform', 'sleep:emit-any')}"
        for name, message in over_http("py-http").items():
            answer = await client.post(URL, content=message.body, headers=message.headers)
            assert answer.status_code == 202, f"{name}: {answer.text}"
            expected[name] = "light"
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        for name, record in over_kafka("py-kafka").items():
            await producer.send_and_wait(settings.topics.breakers, record.body, headers=list(record.headers.items()))
            expected[name] = "light"
        for name, record in over_kafka("py-log").items():
            await producer.send_and_wait(
                settings.topics.events,
                record.body,
                key=name.encode(),
                partition=partition_of(name, settings.partitions),
                headers=list(record.headers.items()),
            )
            expected[name] = "light"
    finally:
        await producer.stop()
    assert await states(installation, door, expected) == expected
    assert await installation.length(settings.topics.deadletter) == 0
