"""An API or a worker whose clock is wrong: commands are judged in log time, and `/status` says which clock is wrong."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic_core import from_json

from schemas.kafka.partitioner import partition_of
from tests.services import Namespace, Services
from tests.services.probe import free_port
from tests.support.installation import Installation

pytestmark = pytest.mark.needs_kafka

MODE = {"target_state": "light"}


def _skewed(seconds: int, name: str) -> list[str]:
    return [sys.executable, "-m", "tests.services.skewed", str(seconds), name]


async def _page(url: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=url) as client:
        while True:
            page: dict[str, Any] = (await client.get("/status")).json()
            if wanted(page):
                return page
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(("skew", "words"), [(-45, "behind"), (7_200, "ahead of")])
async def test_an_api_whose_clock_is_wrong_commands_in_log_time(
    services: Services, namespace: Namespace, tmp_path: Path, skew: int, words: str
) -> None:
    """Each command is applied, from the first on; its `not_after` is 30 s of log time; both clocks are findings."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        installation.start_worker()
        door = await installation.open_door(*_skewed(skew, "api"))
        async with door.client("acme") as client:
            async with asyncio.timeout(60):
                while (answer := await client.post("/api/brain/sleep_mode", json=MODE)).status_code != httpx.codes.OK:
                    assert answer.json()["code"] != "too_late", answer.text
                    await asyncio.sleep(0.2)
            for _ in range(3):
                answer = await client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 60})
                assert answer.status_code == httpx.codes.OK, answer.text
                assert answer.json()["status"] == "running"
            mode = (await client.get("/api/brain/sleep_mode")).json()
            assert mode["state"] == "deep"
            assert abs(mode["now"] - time.time_ns() // 1_000_000) < 5_000
        sent = await installation.read(installation.settings.topics.events, partition_of("acme", 1))
        events = [(record.timestamp, from_json(record.value or b"")) for record in sent]
        left = [event["data"]["not_after"] - at for at, event in events if "not_after" in event["data"]]
        assert min(left[1:]) > 25_000
        assert max(left[1:]) <= 30_000
        page = await _page(door.url, lambda page: sum(words in warning for warning in page["warnings"]) >= 2)
        assert page["status"] == "degraded"
        assert [warning for warning in page["warnings"] if "Redis" in warning and words in warning]
        assert [warning for warning in page["warnings"] if "Kafka" in warning and words in warning]


@pytest.mark.parametrize(("skew", "words"), [(-45, "behind"), (7_200, "ahead of")])
async def test_a_worker_whose_clock_is_wrong_says_so(
    services: Services, namespace: Namespace, tmp_path: Path, skew: int, words: str
) -> None:
    """It decides by log time all the same."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        port = free_port()
        installation.start("worker", *_skewed(skew, "worker"), SLEEP_WORKER_METRICS_PORT=str(port))
        door = await installation.open_door()
        async with door.client("acme") as client, asyncio.timeout(60):
            while (answer := await client.post("/api/brain/sleep_mode", json=MODE)).status_code != httpx.codes.OK:
                await asyncio.sleep(0.2)
            # What falls due makes a timer, and its acknowledgement tells the broker's time.
            answer = await client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 0.1})
            assert answer.json()["state"] == "deep"
        page = await _page(
            f"http://127.0.0.1:{port}", lambda page: sum(words in warning for warning in page["warnings"]) >= 2
        )
        assert page["status"] == "degraded"
