"""Prometheus' own tool accepts the metrics of real processes, the alerts and the queries of the dashboard.

The faults of two alerts are made on a running installation, and the cures of their runbooks end them.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from schemas.metrics import catalog
from schemas.metrics.definition import Definition
from tests.services import Namespace, Services
from tests.services.cluster import RedisClusterService
from tests.services.go_programs import PROMTOOL
from tests.support.configured_redis import configured
from tests.support.dashboard import shipped
from tests.support.installation import ApiClient, Installation

pytestmark = pytest.mark.once

RULES: Final = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
TENANT: Final = "open-ended"
OLDEST: Final = "sleep_api_open_ended_oldest_timestamp_seconds"
# The API looks at Redis every 5 s, and passes over all partitions within two looks.
SEEN_SECONDS: Final = 40.0


class Running(NamedTuple):
    """A worker and an API that run: the address of the worker's page, and the API."""

    worker: str
    api: ApiClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """A worker and an API on two partitions, once a command has gone through."""
    directory = tmp_path_factory.mktemp("installation")
    async with Installation.open(services, module_namespace, directory, partitions=2) as installation:
        worker, api = installation.start_worker(), await installation.open_door()
        async with asyncio.timeout(60), api.client(TENANT) as client:
            while (await client.post("/api/brain/sleep_mode", json={"target_state": "active"})).status_code != 200:
                await asyncio.sleep(0.2)
        yield Running(worker, api)


async def text_of(url: str) -> str:
    """Return the metrics of a process as Prometheus reads them."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        return (await client.get("/metrics")).raise_for_status().text


async def value_of(url: str, name: str, **labels: str) -> float:
    """Return a sample of a process."""
    families = text_string_to_metric_families(await text_of(url))
    samples = [sample for family in families for sample in family.samples]
    [value] = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
    return value


async def until(url: str, name: str, wanted: Callable[[float], bool], **labels: str) -> None:
    """Wait until a sample of a process is as wanted."""
    async with asyncio.timeout(SEEN_SECONDS):
        while not wanted(await value_of(url, name, **labels)):
            await asyncio.sleep(0.2)


def strays(text: str, defined: tuple[Definition, ...]) -> list[str]:
    """Return each sample of a text whose name, label or value of a label is not that of a definition."""
    labels = {series: metric.labels for metric in defined for series in metric.series}
    wrong: list[str] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            known = {label.name: label.values for label in labels.get(sample.name, ())}
            given = {name: value for name, value in sample.labels.items() if name != "le"}
            values = [name for name, value in given.items() if known.get(name) and value not in known[name]]
            if sample.name not in labels or given.keys() != known.keys() or values:
                wrong.append(f"{sample.name} {sample.labels}")
    return wrong


@pytest.mark.asyncio(loop_scope="module")
async def test_promtool_finds_nothing_wrong_with_the_metrics(running: Running) -> None:
    """Names and kinds follow the conventions of Prometheus, in each process."""
    for url in (running.worker, running.api.url):
        assert PROMTOOL.complaint("check", "metrics", text=await text_of(url)) == ""
    assert "no help text" in PROMTOOL.complaint("check", "metrics", text="sleep_worker_x 1\n")


@pytest.mark.asyncio(loop_scope="module")
async def test_real_processes_export_the_labels_of_the_catalog(running: Running) -> None:
    """And where the values of a label have a list, no others."""
    assert strays(await text_of(running.worker), catalog.WORKER) == []
    assert strays(await text_of(running.api.url), catalog.API) == []


def test_each_alert_fires_where_it_must_and_only_there() -> None:
    """The scenarios beside the rules."""
    assert PROMTOOL.complaint("check", "rules", str(RULES / "rules.yaml")) == ""
    assert PROMTOOL.complaint("test", "rules", str(RULES / "rules_test.yaml")) == ""


def test_prometheus_understands_each_query_of_the_dashboard(tmp_path: Path) -> None:
    """A recording rule takes the same language. JSON is YAML too."""
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(shipped().queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert PROMTOOL.complaint("check", "rules", str(file)) == ""
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": [{"record": "q", "expr": "sum("}]}]}))
    assert "parse error" in PROMTOOL.complaint("check", "rules", str(file))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_cure_of_an_open_ended_claim_ends_what_its_alert_sees(running: Running) -> None:
    """Mode `active`, as the runbook SleepOpenEndedClaim says."""
    async with running.api.client(TENANT) as client:
        answer = await client.post("/api/brain/sleep_mode", json={"target_state": "deep"})
        assert answer.status_code == 200
        since = answer.json()["created_at"] / 1_000
        await until(running.api.url, OLDEST, lambda oldest: oldest == pytest.approx(since, abs=1))
        await until(running.api.url, "sleep_api_tenants", lambda number: number == 1, state="deep")
        answer = await client.post("/api/brain/sleep_mode", json={"target_state": "active"})
        assert answer.status_code == 200
    await until(running.api.url, OLDEST, math.isnan)
    await until(running.api.url, "sleep_api_open_ended_tenants", lambda number: number == 0)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_cure_of_a_redis_that_evicts_ends_what_its_alert_sees(running: Running, services: Services) -> None:
    """`CONFIG SET maxmemory-policy noeviction`, as the runbook SleepRedisNotADatabase says."""
    if isinstance(services.store, RedisClusterService):
        pytest.skip("there is no single server")
    bad = {"severity": "bad"}
    with configured(services.redis, **{"maxmemory-policy": "allkeys-lru"}):
        await until(running.api.url, "sleep_api_redis_findings", lambda number: number == 1, **bad)
        await until(running.worker, "sleep_worker_redis_findings", lambda number: number == 1, **bad)
    await until(running.api.url, "sleep_api_redis_findings", lambda number: number == 0, **bad)
    await until(running.worker, "sleep_worker_redis_findings", lambda number: number == 0, **bad)
