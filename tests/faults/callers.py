"""Those who call the APIs while everything fails: each command under one key, asked again until it is answered."""

import asyncio
import random
from typing import Any, Final, NamedTuple

import httpx
from pydantic_core import to_json

from schemas.wire.operation_ids import operation_id_of
from tests.faults.emitters import TENANTS
from tests.faults.fleet import Fleet
from tests.faults.gate import Gate

CALLERS: Final = 10
_SCOPE: Final = "sleep:read sleep:write sleep:policy sleep:override sleep:emit"
_ATTEMPTS: Final = 8
_WAIT: Final = {"Prefer": "wait=5"}
_POLICIES: Final[tuple[dict[str, Any], ...]] = (
    {"ceiling": "deep"},
    {"min_sleep_seconds": 1},
    {"ramp_seconds": {"wake": 0}},
    {"max_ttl_seconds": 2},
    {"floor": "no such state"},
)


class Answer(NamedTuple):
    """What a caller was told; `status` 0 where the connection broke. `code` is a problem's."""

    status: int
    code: str | None
    document: dict[str, Any]


class Request(NamedTuple):
    """A command as HTTP has it."""

    kind: str
    method: str
    path: str
    body: dict[str, Any] | None
    headers: dict[str, str]


class Command:
    """A command under its key, and everything that was ever answered to it."""

    def __init__(self, tenant: str, key: str, request: Request) -> None:
        self.tenant = tenant
        self.key = key
        self.request = request
        self.operation_id = operation_id_of(tenant, f"ops@{tenant}", key)
        self.answers: list[Answer] = []


class Callers:
    """Callers of any tenant, through any API that runs.

    Args:
        fleet: whose doors.
        gate: holds them up where nothing is to be written.
        seed: makes the same commands again.
        count: how many call at the same time.

    Attributes:
        commands: every command so far.
        emitted: the ids of breaker events that a door has accepted.
    """

    def __init__(self, fleet: Fleet, gate: Gate, seed: int, count: int = CALLERS) -> None:
        self.commands: list[Command] = []
        self.emitted: list[str] = []
        self._fleet = fleet
        self._gate = gate
        self._random = random.Random(seed)
        self._live: list[Command] = []
        self._count = count

    async def run(self) -> None:
        """Call until cancelled."""
        async with httpx.AsyncClient(timeout=20.0) as client, asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._call(client))

    async def _call(self, client: httpx.AsyncClient) -> None:
        chance = self._random
        while True:
            tenant = f"tenant-{chance.randrange(TENANTS)}"
            if chance.random() < 0.2:
                await self._emit(client, tenant)
            else:
                command = self._draw(tenant)
                self.commands.append(command)
                if await self._insist(client, command) and chance.random() < 0.3:
                    await self._ask(client, command)
                if command.request.kind == "operation":
                    self._live = [*self._live[-50:], command]
            await asyncio.sleep(chance.expovariate(5))

    def _draw(self, tenant: str) -> Command:
        chance = self._random
        key = f"k-{len(self.commands)}"
        kind = chance.choices(("operation", "cancel", "mode", "policy"), (50, 15, 20, 15))[0]
        if kind == "cancel" and self._live:
            other = chance.choice(self._live)
            path = f"/api/util/sleep/{other.operation_id}"
            return Command(other.tenant, key, Request(kind, "DELETE", path, None, {}))
        if kind == "mode":
            body: dict[str, Any] = {"target_state": chance.choice(("active", "light", "deep", "freeze"))}
            if chance.random() < 0.4:
                body |= {"override": True, "ttl_seconds": chance.choice((0.5, 3))}
            return Command(tenant, key, Request(kind, "POST", "/api/brain/sleep_mode", body, {}))
        if kind == "policy":
            headers = {"If-Match": chance.choice(("*", "*", '"0"', '"1"'))}
            policy = chance.choice((*_POLICIES, None))
            method = "DELETE" if policy is None else "PUT"
            return Command(tenant, key, Request(kind, method, "/api/brain/sleep_policy", policy, headers))
        body = {
            "target_state": chance.choice(("light", "deep", "freeze")),
            "ttl_seconds": chance.choice((0, 0.5, 1.5, 4, 300, 10**6)),
            "reason": "chaos",
        }
        return Command(tenant, key, Request("operation", "POST", "/api/util/sleep", body, {}))

    async def _insist(self, client: httpx.AsyncClient, command: Command) -> bool:
        """Ask until the outcome is known, or patience ends; tell which."""
        for attempt in range(_ATTEMPTS):
            answer = await self._ask(client, command)
            if answer.status not in (0, 202, 404, 503) or answer.code == "too_late":
                return True
            if self._random.random() < 0.1:
                return False
            await asyncio.sleep(min(0.2 * 2**attempt, 3.0))
        return False

    async def _ask(self, client: httpx.AsyncClient, command: Command) -> Answer:
        request = command.request
        headers = {**_WAIT, **request.headers, "Idempotency-Key": command.key}
        answer = await self._send(client, command.tenant, request, headers)
        command.answers.append(answer)
        return answer

    async def _send(self, client: httpx.AsyncClient, tenant: str, request: Request, headers: dict[str, str]) -> Answer:
        async with self._gate.passing():
            door = self._random.choice(self._fleet.doors)
            content = None if request.body is None else to_json(request.body)
            sent = {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {door.token(tenant, _SCOPE)}",
                **headers,
            }
            try:
                answer = await client.request(request.method, door.url + request.path, content=content, headers=sent)
            except httpx.TransportError:
                return Answer(0, None, {})
        document = answer.json()
        return Answer(answer.status_code, document.get("code") if answer.status_code >= 400 else None, document)

    async def _emit(self, client: httpx.AsyncClient, tenant: str) -> None:
        """Report a few breakers; what was accepted must be in the log."""
        chance = self._random
        ids = [f"h-{chance.getrandbits(60):x}" for _ in range(chance.choice((1, 3)))]
        events = [
            {
                "specversion": "1.0", "id": id_, "source": "urn:test:http", "type": "sleep.breaker.v1",
                "subject": tenant,
                "data": {"breaker": "door", "instance": f"pod-{chance.randrange(3)}",
                         "state": chance.choice(("open", "closed", "half_open"))},
            }
            for id_ in ids
        ]  # fmt: skip
        async with self._gate.passing():
            door = chance.choice(self._fleet.doors)
            headers = {
                "Content-Type": "application/cloudevents-batch+json",
                "Authorization": f"Bearer {door.token(tenant, _SCOPE)}",
            }
            try:
                answer = await client.post(f"{door.url}/api/breakers/events", content=to_json(events), headers=headers)
            except httpx.TransportError:
                return
        assert answer.status_code in (202, 503), answer.text
        if answer.status_code == httpx.codes.ACCEPTED:
            self.emitted += ids
