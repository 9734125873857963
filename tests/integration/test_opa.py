"""A real OPA server: the table of cases, its decisions in the audit, and the API while OPA is unavailable."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from pydantic_core import from_json

from api.adapters.dependency import Dependency
from api.security.embedded_policy import EmbeddedPolicy, policy_folder
from api.security.opa import ENDPOINT, OpaServer, Question
from api.security.opa_client import OpaClient
from api.security.permissions import permissions_of
from api.security.tokens import Principal
from schemas.kafka.partitioner import partition_of
from schemas.wire.events import TIMER
from tests.services import Namespace, Service, Services
from tests.support.installation import ApiClient, Installation
from tests.support.policy_cases import BASE, CASES

pytestmark = pytest.mark.needs_opa

PARTITIONS = 2
CALLERS = 16
SEED = 20_261_124
MODE = "/api/brain/sleep_mode"
LIGHT = {"target_state": "light"}


@contextmanager
def _roles(client: httpx.Client, roles: object) -> Iterator[None]:
    """Let OPA decide by other roles within the block."""
    shipped = client.get("/v1/data/sleep_roles").json()["result"]
    client.put("/v1/data/sleep_roles", json=roles).raise_for_status()
    try:
        yield
    finally:
        client.put("/v1/data/sleep_roles", json=shipped).raise_for_status()


def _decision(client: httpx.Client, document: dict[str, Any]) -> object:
    return client.post("/v1/data/sleep/decision", json={"input": document}).raise_for_status().json()["result"]


def test_opa_answers_the_table_of_cases(opa: Service) -> None:
    """Every case as the embedded engine answers it, reasons and all."""
    wrong: list[tuple[str, object]] = []
    with httpx.Client(base_url=opa.address) as client:
        for case in CASES:
            if case.roles is None:
                decision = _decision(client, case.input)
            else:
                with _roles(client, case.roles):
                    decision = _decision(client, case.input)
            if decision != case.decision:
                wrong.append((case.name, decision))
    assert wrong == []


async def test_the_client_asks_opa_what_the_table_asks(opa: Service) -> None:
    """The API's own client gets a decision, and its id as OPA logged it."""
    server = OpaServer(OpaClient(f"{opa.address}{ENDPOINT}"), Dependency("opa"))
    decision = await server.decide(Question(**{**BASE, "scopes": tuple(BASE["scopes"])}))
    assert decision.allow
    assert decision.decision_id in opa.log_tail()


@pytest.mark.parametrize("scopes", [(), ("sleep:read",), ("sleep:read-any", "sleep:override"), ("sleep:operate",)])
@pytest.mark.parametrize("tenant", ["acme", None])
async def test_a_server_says_the_permissions_that_the_embedded_policy_says(
    opa: Service, scopes: tuple[str, ...], tenant: str | None
) -> None:
    """Both are asked, and nothing else knows them."""
    principal = Principal("ops@acme", tenant, scopes, 99)
    client = OpaClient(f"{opa.address}{ENDPOINT}")
    server = await permissions_of(principal, OpaServer(client, Dependency("opa")))
    await client.aclose()
    assert server == await permissions_of(principal, EmbeddedPolicy(policy_folder(), Dependency("opa")))


class Answer(NamedTuple):
    """How a request went, by the monotonic clock."""

    begun: float
    ended: float
    status: int
    code: str | None


@dataclass
class GuardedApi:
    """A worker, and an API that asks OPA."""

    installation: Installation
    door: ApiClient

    async def commands(self) -> int:
        """Return how many commands stand in the log."""
        topic = self.installation.settings.topics.events
        logs = [await self.installation.read(topic, partition) for partition in range(PARTITIONS)]
        return sum(from_json(record.value or b"")["type"] != TIMER for log in logs for record in log)

    async def works(self) -> None:
        """Wait until a command is answered with its outcome."""
        async with asyncio.timeout(60), self.door.client("warm-up") as client:
            while (await client.post(MODE, json=LIGHT)).status_code != httpx.codes.OK:
                await asyncio.sleep(0.1)


@pytest_asyncio.fixture
async def guarded(opa: Service, services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[GuardedApi]:
    """One of each process, once a command has gone through."""
    async with Installation.open(services, namespace, tmp_path, partitions=PARTITIONS) as installation:
        installation.start_worker()
        door = await installation.open_door(SLEEP_OPA_URL=opa.address, SLEEP_RATE_LIMITS='{"*": "1000000/minute"}')
        guarded = GuardedApi(installation, door)
        await guarded.works()
        yield guarded


@dataclass
class Load:
    """Callers that send commands without a pause, and what each was answered."""

    door: ApiClient
    answers: list[Answer] = field(default_factory=list)
    under_way: dict[int, float] = field(default_factory=dict)
    stopping: bool = False

    async def caller(self, number: int) -> None:
        """Send commands of a few tenants until told to stop; the same ones for the same seed."""
        chance = random.Random(SEED + number)
        async with httpx.AsyncClient(base_url=self.door.url, timeout=30.0) as client:
            while not self.stopping:
                token = self.door.token(f"tenant-{chance.randrange(20)}")
                method, path, body = self._command(chance)
                headers = {"Authorization": f"Bearer {token}", "If-Match": "*"}
                self.under_way[number] = begun = time.monotonic()
                answer = await client.request(method, path, json=body, headers=headers)
                del self.under_way[number]
                code = answer.json().get("code") if answer.content else None
                self.answers.append(Answer(begun, time.monotonic(), answer.status_code, code))

    @staticmethod
    def _command(chance: random.Random) -> tuple[str, str, object]:
        match chance.randrange(4):
            case 0:
                return "POST", "/api/util/sleep", {"target_state": "deep", "ttl_seconds": chance.choice((0.2, 5))}
            case 1:
                pin = {"target_state": "freeze", "ttl_seconds": 0.5, "override": True}
                return "POST", MODE, pin
            case 2:
                return "PUT", "/api/brain/sleep_policy", {"floor": chance.choice(("active", "light"))}
            case _:
                return "POST", MODE, {"target_state": chance.choice(("active", "light"))}

    async def drained(self, moment: float) -> None:
        """Wait until each request that began before a moment was answered."""
        while any(begun < moment for begun in self.under_way.values()):
            await asyncio.sleep(0.01)

    def since(self, begun: float, ended: float) -> list[Answer]:
        """Return the answers to requests that began and ended between two moments."""
        return [answer for answer in self.answers if begun <= answer.begun and answer.ended <= ended]


async def test_no_request_passes_while_opa_is_killed_and_service_returns(guarded: GuardedApi, opa: Service) -> None:
    """Every answer is 503 while it is down, and the log gains no command; nobody restarts the API."""
    print(f"seed {SEED}")
    load = Load(guarded.door)
    callers = [asyncio.create_task(load.caller(number)) for number in range(CALLERS)]
    await asyncio.sleep(2)
    await asyncio.to_thread(opa.kill)
    down = time.monotonic()
    await load.drained(down)
    before = await guarded.commands()
    await asyncio.sleep(2)
    up = time.monotonic()
    await load.drained(up)
    after = await guarded.commands()
    stillborn = load.since(down, time.monotonic())
    await asyncio.to_thread(opa.start)
    await guarded.works()
    back = time.monotonic()
    await asyncio.sleep(1)
    load.stopping = True
    await asyncio.gather(*callers)
    assert before == after
    assert len(stillborn) > CALLERS
    assert {(answer.status, answer.code) for answer in stillborn} == {(503, "opa_unavailable")}
    passed = [answer for answer in load.answers if answer.status < 300]
    assert any(answer.ended < down for answer in passed)
    assert any(answer.begun > back for answer in passed)


async def test_an_opa_that_hangs_is_answered_for_within_about_a_second(guarded: GuardedApi, opa: Service) -> None:
    """A stopped process still takes connections; a hundred callers at once wait no longer than one."""
    before = await guarded.commands()
    with opa.paused():
        begun = time.monotonic()
        async with guarded.door.client("acme") as client:
            answers = await asyncio.gather(*(client.post(MODE, json=LIGHT) for _ in range(100)))
        seconds = time.monotonic() - begun
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert 0.9 < seconds < 2.5
    assert await guarded.commands() == before
    await guarded.works()


async def test_opas_decision_id_is_in_the_event_and_in_the_audit(guarded: GuardedApi, opa: Service) -> None:
    """The same id in OPA's own log, in the command's event and in each row of the audit that it caused."""
    async with guarded.door.client("audited") as client:
        answer = await client.post(MODE, json={"target_state": "deep"})
    log = await asyncio.to_thread(opa.log_tail)
    assert answer.status_code == httpx.codes.OK, answer.text
    partition, topics = partition_of("audited", PARTITIONS), guarded.installation.settings.topics
    sent = [from_json(record.value or b"") for record in await guarded.installation.read(topics.events, partition)]
    [command] = [event for event in sent if event.get("subject") == "audited"]
    rows = [from_json(record.value or b"") for record in await guarded.installation.read(topics.transitions, partition)]
    decision_id = command["data"]["decision_id"]
    assert decision_id in log
    assert {row["decision_id"] for row in rows if row["tenant"] == "audited"} == {decision_id}
