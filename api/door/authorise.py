"""May they: the Rego policy, embedded or on an OPA server. Whatever is not a clear yes is no."""

import asyncio
import json
import math
import re
import uuid
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import httpx
from pydantic_core import from_json
from regopy import Input, Interpreter, RegoError

from api.operate.dependency import Dependency, Pause, UnavailableError, describe

DECISION_SECONDS: Final = 1.0
"""How long an OPA server may take for a decision."""
PROBE_SECONDS: Final = 5.0
LONGEST_ANSWER: Final = 65_536
"""How much of an OPA server's answer is read, in bytes; a longer one is none."""
CONNECTIONS: Final = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=30.0)
"""To the OPA server. Hundreds of callers share them: a decision takes about a millisecond, a new connection more."""
REMEMBERED_ANSWERS: Final = 4096
_ENTRYPOINT: Final = "sleep/decision"
_IDENTIFIER: Final = re.compile(r"[ -~]{1,128}\Z")
_LARGEST_WHOLE: Final = 2**53
_ESCAPES: Final = {ord(char): f"\ue000{ord(char):x}." for char in (*map(chr, range(32)), *'"\\`\x7f\ue000')}


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
    here = Path(__file__).parents[1]
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


def _as_the_engine_reads(value: object) -> object:
    """Return a part of an input so that the embedded engine reads what OPA would.

    It cuts a text at a NUL and drops quotes around it (either would make `sleep:operate` of another scope), and cuts a
    whole number to 64 bits (2**64 + 1 would be 1).
    """
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
        return math.inf if value > 0 else -math.inf
    if isinstance(value, list):
        return [_as_the_engine_reads(item) for item in value]
    if isinstance(value, dict):
        return {_as_the_engine_reads(key): _as_the_engine_reads(item) for key, item in value.items()}
    return value


class EmbeddedPolicy:
    """The shipped `.rego` files and their `data.json`, compiled once and run in this process.

    Raises:
        RegoError: if the files do not compile.
        OSError: if they cannot be read.
        ValueError: if the data are no JSON.
    """

    def __init__(self, folder: Path, dependency: Dependency) -> None:
        self._dependency = dependency
        self._interpreter = Interpreter()
        self._interpreter.add_data(json.loads((folder / "data.json").read_bytes()))
        for file in sorted(folder.glob("*.rego")):
            if not file.stem.endswith("_test"):
                self._interpreter.add_module(file.name, file.read_text(encoding="utf-8"))
        self._policy = self._interpreter.build(None, [_ENTRYPOINT])
        self._run = lru_cache(maxsize=REMEMBERED_ANSWERS)(self._evaluate)
        dependency.found_up("embedded")

    async def decide(self, question: Question) -> Decision:
        """Run the policy, about 0.7 ms; answers are remembered, being functions of the question alone."""
        try:
            result = self._run(question)
        except (RegoError, ValueError) as error:
            raise UnavailableError(self._dependency.name, describe(error)) from error
        return _decision(result, None, self._dependency)

    def _evaluate(self, question: Question) -> object:
        return self.evaluate(question.as_input())

    def evaluate(self, document: Mapping[str, object]) -> object:
        """Return what the policy says of an input, None for nothing.

        Raises:
            RegoError: if it cannot be run.
            ValueError: if the engine's answer is no JSON, or the input no text.
        """
        self._interpreter.set_input(Input(_as_the_engine_reads(dict(document))))
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
                answer = from_json(await self._ask({"input": question.as_input()}))
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            self._dependency.found_down(describe(error))
            raise UnavailableError(self._dependency.name, describe(error)) from error
        if not isinstance(answer, dict):
            answer = {}
        return _decision(answer.get("result"), answer.get("decision_id"), self._dependency)

    async def _ask(self, document: object) -> bytes:
        # A packed answer could be larger than it looks.
        headers = {"Accept-Encoding": "identity"}
        request = self._client.build_request("POST", self._endpoint, json=document, headers=headers)
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            if not response.is_success:
                # Not httpx's own error, whose text holds the URL and any password in it.
                raise ValueError(f"it answered {response.status_code} {response.reason_phrase}")
            if "content-encoding" in response.headers:
                raise ValueError("an answer that is packed")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LONGEST_ANSWER:
                    raise ValueError(f"an answer of more than {LONGEST_ANSWER} bytes")
            return bytes(body)
        finally:
            await response.aclose()

    async def run(self, pause: Pause = asyncio.sleep) -> NoReturn:
        """Ask a harmless question now and then, so that `/status` is true while nobody calls."""
        while True:
            await self.decide(NOBODY)
            await pause(PROBE_SECONDS)
