"""Plays a scenario through the outside doors and checks what is seen."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sleepctl.client import Answer
from sleepctl.errors import CommandError
from sleepctl.scenario import (
    Answers,
    Cancel,
    Expectation,
    Moves,
    Ramps,
    SetPolicy,
    Sleep,
    Stands,
    Step,
    Trip,
    moves_of,
)

LONGEST_SECONDS: Final = 10.0
"""How long each expectation is waited for."""
_POLL_SECONDS: Final = 0.02
# How often a moving tenant is shown.
_SAMPLE_SECONDS: Final = 0.4


class Outside(Protocol):
    """The doors of a running system, and what is seen through them."""

    @property
    def transitions(self) -> Sequence[Mapping[str, Any]]:
        """The transitions in the audit so far, in the order of their arrival."""
        ...

    async def trip(self, action: Trip) -> None:
        """Write a breaker event to Kafka."""
        ...

    async def request(
        self,
        tenant: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with the tenant's own token."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class View(Protocol):
    """Where a person watches."""

    def step(self, title: str) -> None:
        """Say what is done next."""
        ...

    def moving(self, present: Mapping[str, Any]) -> None:
        """Show a tenant whose parameters are on their way."""
        ...

    def answer(self, answer: Answer) -> None:
        """Show what a request was answered."""
        ...

    def checked(self, expectation: str, *, seen: bool) -> None:
        """Say whether what was expected was seen."""
        ...


class Player:
    """Plays steps one after another; a step that was not seen does not keep the next from being played."""

    def __init__(self, outside: Outside, view: View) -> None:
        self._outside = outside
        self._view = view
        self._answer: Answer | None = None
        self._operations: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    async def play(self, steps: tuple[Step, ...], tenants: Sequence[str]) -> list[str]:
        """Play all steps and return what was not seen.

        At the end each tenant must have made the transitions that were expected, and no others.

        Raises:
            CommandError: if a door is shut.
        """
        unseen: list[str] = []
        for step in steps:
            self._view.step(step.title)
            await self._act(step.action)
            for expectation in step.expected:
                seen = await self._sees(expectation)
                self._view.checked(str(expectation), seen=seen)
                if not seen:
                    unseen.append(f"{expectation} after: {step.title}")
        for tenant in tenants:
            seen = self._made(tenant) == moves_of(tenant, steps)
            expectation_text = f"{tenant} made these transitions and no others"
            self._view.checked(expectation_text, seen=seen)
            if not seen:
                unseen.append(expectation_text)
        return unseen

    async def _act(self, action: Trip | SetPolicy | Sleep | Cancel) -> None:
        match action:
            case Trip():
                await self._outside.trip(action)
            case SetPolicy(tenant, policy):
                path = "/api/brain/sleep_policy"
                await self._request(tenant, "PUT", path, policy, {"If-Match": "*"})
            case Sleep(tenant, target, ttl_seconds):
                body = {"target_state": target, "ttl_seconds": ttl_seconds}
                answer = await self._request(tenant, "POST", "/api/util/sleep", body)
                if not answer.failed:
                    self._operations[tenant] = str(answer.document.get("operation_id"))
            case Cancel(tenant):
                if tenant not in self._operations:
                    raise CommandError(f"{tenant} has no operation to cancel")
                await self._request(tenant, "DELETE", f"/api/util/sleep/{self._operations[tenant]}")

    async def _request(
        self,
        tenant: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        self._answer = await self._outside.request(tenant, method, path, body, headers)
        self._view.answer(self._answer)
        return self._answer

    async def _sees(self, expectation: Expectation) -> bool:
        waited = 0.0
        moved = False
        pause = _SAMPLE_SECONDS if isinstance(expectation, Ramps) else _POLL_SECONDS
        while True:
            match expectation:
                case Answers(status, code):
                    answer = self._answer
                    return answer is not None and (answer.status, answer.document.get("code")) == (
                        status,
                        code,
                    )
                case Moves(tenant=tenant):
                    made = self._made(tenant)[self._taken.get(tenant, 0) :]
                    if made:
                        self._taken[tenant] = self._taken.get(tenant, 0) + 1
                        return made[0] == expectation
                case Stands(tenant, state):
                    if (await self._present(tenant)).get("state") == state:
                        return True
                case Ramps(tenant):
                    present = await self._present(tenant)
                    if present.get("parameters") == present.get("target_parameters"):
                        return moved
                    moved = True
                    self._view.moving(present)
            if waited >= LONGEST_SECONDS:
                return False
            await self._outside.sleep(pause)
            waited += pause

    async def _present(self, tenant: str) -> Mapping[str, Any]:
        return (await self._outside.request(tenant, "GET", "/api/brain/sleep_mode")).document

    def _made(self, tenant: str) -> list[Moves]:
        return [
            Moves(tenant, row["from"], row["to"], (row["cause"] or {}).get("kind", ""))
            for row in self._outside.transitions
            if row["tenant"] == tenant
        ]
