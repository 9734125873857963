"""The shipped Rego policy, run in this process, and its memory.

An evaluation takes about a millisecond and holds up the event loop. So answers are remembered by what the policy can
tell apart, which the policy itself states in its rule `visible`. See docs/decisions/0030-remembered-decisions.md.
"""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import TypeAdapter, ValidationError
from regopy import Input, Interpreter, RegoError

from api.adapters.dependency import Dependency, UnavailableError, describe
from api.security.opa import Decision, Question, decision_of

REMEMBERED_ANSWERS: Final = 4096
_DECISION: Final = "sleep/decision"
_VISIBLE: Final = "sleep/visible"
_LARGEST_WHOLE: Final = 2**53
_ESCAPES: Final = {ord(char): f"\ue000{ord(char):x}." for char in (*map(chr, range(32)), *'"\\`\x7f\ue000')}


class Visible(NamedTuple):
    """What a policy can tell apart in the fields that callers fill freely.

    Attributes:
        scopes: the scopes that have a role. Any other scope is the same as none.
        ttl_bounds: the TTLs in seconds that a TTL is compared with, ascending. The policy asks only whether the TTL is
            at most the bound.
    """

    scopes: frozenset[str]
    ttl_bounds: tuple[float, ...]


_VISIBLE_OF: Final = TypeAdapter(Visible)


def simplest(question: Question, visible: Visible) -> Question:
    """Return the simplest question that the policy cannot tell from this one.

    Of tenants only their presence and equality remain, of scopes those with a role, of a TTL the smallest bound that
    it keeps, and of the subject nothing.
    """
    ttl, tenant, token_tenant = question.ttl_seconds, question.tenant, question.token_tenant
    return Question(
        question.action,
        None if tenant is None else "own",
        None if token_tenant is None else "own" if token_tenant == tenant else "another",
        "",
        tuple(sorted(visible.scopes.intersection(question.scopes))),
        question.target_state,
        None if ttl is None else next((bound for bound in visible.ttl_bounds if ttl <= bound), math.inf),
        question.override,
    )


def policy_folder() -> Path:
    """Return the folder of the shipped policy: in the wheel, or else `deploy/opa`."""
    here = Path(__file__).parents[1]
    shipped = here / "rego"
    return shipped if shipped.is_dir() else here.parent / "deploy" / "opa"


def _as_the_engine_reads(value: object) -> object:
    """Return a part of an input so that the embedded engine reads it as OPA would.

    The engine cuts a text at a NUL and drops quotes around it. Either could turn another scope into `sleep:operate`.
    It also cuts an integer to 64 bits: 2**64 + 1 would be 1.
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
        self._policy = self._interpreter.build(None, [_DECISION, _VISIBLE])
        self._visible = self._read_visible()
        self._run = lru_cache(maxsize=REMEMBERED_ANSWERS)(self._evaluate)
        dependency.mark_up("embedded")

    def _read_visible(self) -> Visible | None:
        """Return what the policy can tell apart, None if it does not say."""
        try:
            visible = _VISIBLE_OF.validate_python(self._query(_VISIBLE, {}))
        except ValidationError:
            return None
        # The engine would read a larger bound as infinite, and `simplest` asks with bounds.
        exact = all(abs(bound) <= _LARGEST_WHOLE for bound in visible.ttl_bounds)
        return visible._replace(ttl_bounds=tuple(sorted(visible.ttl_bounds))) if exact else None

    async def decide(self, question: Question) -> Decision:
        """Return the decision on a question. Where the answer is not remembered, the policy runs for a millisecond."""
        try:
            # The subject goes into the log, so it must be text for every policy.
            question.subject.encode()
            result = self._run(question if self._visible is None else simplest(question, self._visible))
        except (RegoError, ValueError) as error:
            raise UnavailableError(self._dependency.name, describe(error)) from error
        return decision_of(result, None, self._dependency)

    def _evaluate(self, question: Question) -> object:
        return self.evaluate(question.as_input())

    def evaluate(self, document: Mapping[str, object]) -> object:
        """Return the policy's result for an input, None if there is none. Remembers nothing.

        Raises:
            RegoError: if the policy cannot be run.
            ValueError: if the engine's answer is not JSON, or the input is not text.
        """
        return self._query(_DECISION, document)

    def _query(self, entrypoint: str, document: Mapping[str, object]) -> object:
        self._interpreter.set_input(Input(_as_the_engine_reads(dict(document))))
        output = self._interpreter.query_bundle_entrypoint(self._policy, entrypoint)
        expressions = output[0].expressions if len(output) else []
        return expressions[0] if expressions else None
