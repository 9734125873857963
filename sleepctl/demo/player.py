"""Plays a scenario over HTTP and Kafka, and checks what is seen."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sleepctl.demo.scenario import (
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
from sleepctl.io.api_client import Answer
from sleepctl.ui.errors import CommandError

LONGEST_SECONDS: Final = 10.0
"""How long to wait for each expectation."""
_POLL_SECONDS: Final = 0.02
# How often a tenant on a ramp is shown.
_SAMPLE_SECONDS: Final = 0.4


class Outside(Protocol):
    """A running installation, as its clients see it."""

    @property
    def transitions(self) -> Sequence[Mapping[str, Any]]:
        """The transitions in the audit so far, in order of arrival."""
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
        """Send a request with the tenant's token."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class View(Protocol):
    """Shows the scenario."""

    def step(self, title: str) -> None:
        """Show the next step."""
        ...

    def moving(self, present: Mapping[str, Any]) -> None:
        """Show a tenant on a ramp."""
        ...

    def answer(self, answer: Answer) -> None:
        """Show the answer to a request."""
        ...

    def checked(self, expectation: str, *, seen: bool) -> None:
        """Show whether an expectation was seen."""
        ...


class Player:
    """Plays steps one after another, also after a step whose expectations were not seen."""

    def __init__(self, outside: Outside, view: View) -> None:
        self._outside = outside
        self._view = view
        self._answer: Answer | None = None
        self._operations: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    async def play(self, steps: tuple[Step, ...], tenants: Sequence[str]) -> list[str]:
        """Play all steps and return the expectations that were not seen.

        At the end each tenant must have made the expected transitions, and no others.

        Raises:
            CommandError: if Kafka or the API does not answer.
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
