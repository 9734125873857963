"""Authorisation by the Rego policy, and the policy on an OPA server. Access is denied unless the policy allows it."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from api.adapters.dependency import Dependency, Pause, UnavailableError, describe
from api.security.opa_client import NoEchoError, OpaClient
from api.security.opa_connection import InvalidAnswerError
from schemas.running_timeout import running_timeout

DECISION_SECONDS: Final = 1.0
"""How long an OPA server may take for a decision."""
PROBE_SECONDS: Final = 5.0
ENDPOINT: Final = "/v1/data/sleep/decision"
_NO_ANSWER: Final = (OSError, TimeoutError, ValueError, InvalidAnswerError)
_IDENTIFIER: Final = re.compile(r"[ -~]{1,128}\Z")


class Question(NamedTuple):
    """The question to the policy."""

    action: str
    tenant: str | None
    token_tenant: str | None
    subject: str
    scopes: tuple[str, ...]
    target_state: str | None = None
    ttl_seconds: float | None = None
    override: bool = False

    def as_input(self) -> dict[str, Any]:
        """Return the policy's `input`."""
        return {**self._asdict(), "scopes": list(self.scopes)}


NOBODY: Final = Question("read", None, None, "", ())
"""A question that every policy denies. Any answer shows that the policy works."""


class Decision(NamedTuple):
    """The policy's answer; `decision_id` identifies it in the policy's own log."""

    allow: bool
    reasons: tuple[str, ...]
    decision_id: str


class Authoriser(Protocol):
    """Decides whether a caller may do something."""

    async def decide(self, question: Question) -> Decision:
        """Return the decision.

        Raises:
            UnavailableError: if the policy does not answer.
        """
        ...


def decision_of(result: object, decision_id: object, dependency: Dependency) -> Decision:
    """Return the decision in a policy's answer. Without a boolean `allow` the answer is invalid."""
    allow = result.get("allow") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(allow, bool):
        finding = "the policy's decision has no boolean allow"
        dependency.mark_down(finding)
        raise UnavailableError(dependency.name, finding)
    raw_reasons = result.get("reasons")
    reasons = (
        tuple(reason for reason in raw_reasons if isinstance(reason, str)) if isinstance(raw_reasons, list) else ()
    )
    named = isinstance(decision_id, str) and _IDENTIFIER.match(decision_id) is not None
    dependency.mark_up("decides")
    return Decision(allow, reasons, str(decision_id) if named else str(uuid.uuid4()))


class OpaServer:
    """An OPA server that holds the policy.

    Args:
        client: asks the server's endpoint `ENDPOINT`; a decision takes at most `DECISION_SECONDS`.
        dependency: is marked up or down as the server decides.
        took: is told of each question how long it took, answered or not, in seconds.
        now: monotonic, in seconds.
    """

    lost = (UnavailableError,)

    def __init__(
        self,
        client: OpaClient,
        dependency: Dependency,
        took: Callable[[float], object] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._dependency = dependency
        self._took = took
        self._now = now
        # Whether the policy echoes a nonce. Only then is a nonce part of the input.
        self._echoes = False

    async def decide(self, question: Question) -> Decision:
        """Ask the server. An error status, or a late or invalid answer, makes it unavailable."""
        began = self._now()
        try:
            async with running_timeout(DECISION_SECONDS):
                answer = await self._ask(question)
        except _NO_ANSWER as error:
            self._dependency.mark_down(describe(error))
            raise UnavailableError(self._dependency.name, describe(error)) from error
        finally:
            self._took(self._now() - began)
        return decision_of(answer.get("result"), answer.get("decision_id"), self._dependency)

    async def _ask(self, question: Question) -> dict[str, Any]:
        document = question.as_input()
        if self._echoes:
            try:
                return await self._client.ask(document, echoed=True)
            except NoEchoError:
                # The policy was replaced, or this was the answer to another question. Neither is a decision.
                self._echoes = False
        return await self._client.ask(document, echoed=False)

    async def run(self, pause: Pause = asyncio.sleep) -> NoReturn:
        """Ask `NOBODY` every `PROBE_SECONDS`, so that `/status` is right without any requests."""
        while True:
            await self._look_for_echo()
            await self.decide(NOBODY)
            await pause(PROBE_SECONDS)

    async def _look_for_echo(self) -> None:
        """Find out whether the policy echoes a nonce. Otherwise no nonce is sent."""
        try:
            async with asyncio.timeout(DECISION_SECONDS):
                await self._client.ask(NOBODY.as_input(), echoed=True)
        except (*_NO_ANSWER, NoEchoError):
            self._echoes = False
        else:
            self._echoes = True
