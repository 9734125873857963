"""May they: the Rego policy, embedded or on an OPA server. Whatever is not a clear yes is no."""

import asyncio
import re
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import httpx
from regopy import Input, Interpreter, RegoError

from api.dependency import Dependency, Pause, UnavailableError, describe

DECISION_SECONDS: Final = 1.0
"""How long an OPA server may take for a decision."""
PROBE_SECONDS: Final = 5.0
REMEMBERED_ANSWERS: Final = 4096
_ENTRYPOINT: Final = "sleep/decision"
_IDENTIFIER: Final = re.compile(r"[ -~]{1,128}\Z")


class Question(NamedTuple):
    """What the policy is asked."""

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
"""A question that every policy answers with no; it shows that the policy answers."""


class Decision(NamedTuple):
    """What the policy answered; `decision_id` names it in the audit log."""

    allow: bool
    reasons: tuple[str, ...]
    decision_id: str


class Authoriser(Protocol):
    """Answers whether a caller may do something."""

    async def decide(self, question: Question) -> Decision:
        """Return the decision.

        Raises:
            UnavailableError: if there is none.
        """
        ...


def policy_folder() -> Path:
    """Return where the shipped policy lies: in the wheel beside this module, else in `deploy/opa`."""
    here = Path(__file__).parent
    shipped = here / "rego"
    return shipped if shipped.is_dir() else here.parent / "deploy" / "opa"


def _decision(result: object, decision_id: object, dependency: Dependency) -> Decision:
    """Return the decision in a policy's answer; anything but a boolean `allow` is no answer."""
    allow = result.get("allow") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(allow, bool):
        finding = "the policy's decision has no boolean allow"
        dependency.found_down(finding)
        raise UnavailableError(dependency.name, finding)
    given = result.get("reasons")
    reasons = tuple(reason for reason in given if isinstance(reason, str)) if isinstance(given, list) else ()
    named = isinstance(decision_id, str) and _IDENTIFIER.match(decision_id) is not None
    dependency.found_up("decides")
    return Decision(allow, reasons, str(decision_id) if named else str(uuid.uuid4()))


class EmbeddedPolicy:
    """The shipped `.rego` files, compiled once and run in this process.

    Raises:
        RegoError: if the files do not compile.
        OSError: if they cannot be read.
    """

    def __init__(self, folder: Path, dependency: Dependency) -> None:
        self._dependency = dependency
        self._interpreter = Interpreter()
        for file in sorted(folder.glob("*.rego")):
            if not file.stem.endswith("_test"):
                self._interpreter.add_module(file.name, file.read_text(encoding="utf-8"))
        self._policy = self._interpreter.build(None, [_ENTRYPOINT])
        self._run = lru_cache(maxsize=REMEMBERED_ANSWERS)(self._evaluate)
        dependency.found_up("embedded")

    async def decide(self, question: Question) -> Decision:
        """Run the policy, about 0.3 ms; answers are remembered, being functions of the question alone."""
        try:
            result = self._run(question)
        except (RegoError, ValueError) as error:
            raise UnavailableError(self._dependency.name, describe(error)) from error
        return _decision(result, None, self._dependency)

    def _evaluate(self, question: Question) -> object:
        self._interpreter.set_input(Input(question.as_input()))
        output = self._interpreter.query_bundle_entrypoint(self._policy, _ENTRYPOINT)
        expressions = output[0].expressions if len(output) else []
        return expressions[0] if expressions else None


class OpaServer:
    """An OPA server that holds the policy.

    Args:
        url: where it listens, without `/v1`.
        client: the HTTP client; its timeouts do not matter, a decision takes at most `DECISION_SECONDS`.
        dependency: told whether it decides.
    """

    lost = (UnavailableError,)

    def __init__(self, url: str, client: httpx.AsyncClient, dependency: Dependency) -> None:
        self._endpoint = f"{url.rstrip('/')}/v1/data/sleep/decision"
        self._client = client
        self._dependency = dependency

    async def decide(self, question: Question) -> Decision:
        """Ask the server; a wrong status, a slow or senseless answer is none."""
        try:
            async with asyncio.timeout(DECISION_SECONDS):
                response = await self._client.post(self._endpoint, json={"input": question.as_input()})
            answer: Any = response.raise_for_status().json()
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            self._dependency.found_down(describe(error))
            raise UnavailableError(self._dependency.name, describe(error)) from error
        if not isinstance(answer, dict):
            answer = {}
        return _decision(answer.get("result"), answer.get("decision_id"), self._dependency)

    async def run(self, pause: Pause = asyncio.sleep) -> NoReturn:
        """Ask a harmless question now and then, so that `/status` is true while nobody calls."""
        while True:
            await self.decide(NOBODY)
            await pause(PROBE_SECONDS)
