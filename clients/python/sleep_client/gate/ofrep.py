"""The OpenFeature Remote Evaluation Protocol: the flags of a tenant over HTTP.

https://github.com/open-feature/protocol/blob/main/service/openapi.yaml has the form of each answer.
"""

import hashlib
import json
from typing import Any, Final, Literal

from sleep_client.flags import KEYS, Flag, flag_of
from sleep_client.gate.answer import Answer, json_answer
from sleep_client.obeying import RETRY_SECONDS, States
from sleep_client.reading.errors import NotReady, NotWatched
from sleep_client.reading.tenant_state import TenantState

PATH: Final = "/ofrep/v1/evaluate/flags"
MOST_BYTES: Final = 65_536
"""Of a body: contexts have other attributes too, which are not used."""
Outcome = Literal["value", "unchanged", "no_tenant", "no_flag", "unknown", "invalid"]
_RETRY: Final = ((b"retry-after", str(RETRY_SECONDS).encode()),)


class _RefusedError(Exception):
    """A request is answered by an error."""

    def __init__(self, status: int, code: str, details: str, outcome: Outcome) -> None:
        super().__init__(details)
        self.status = status
        self.code = code
        self.outcome: Outcome = outcome


def evaluate_one(states: States, key: str, body: bytes) -> tuple[Answer, Outcome]:
    """Return the answer to a request for one flag."""
    try:
        flag = _flag(states, key, body)
    except _RefusedError as error:
        return _refusal(error, {"key": key[:100]})
    return json_answer(200, _document(flag)), "value"


def evaluate_all(states: States, body: bytes, if_none_match: str) -> tuple[Answer, Outcome]:
    """Return the answer to a request for all flags; 304 if `if_none_match` names what it would be."""
    try:
        state = _state(states, body)
    except _RefusedError as error:
        return _refusal(error, {})
    flags = [flag for flag in (flag_of(key, state) for key in KEYS) if flag is not None]
    answer = json_answer(200, {"flags": [_document(flag) for flag in flags]})
    tag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    headers = [(b"etag", tag.encode()), (b"cache-control", b"no-cache")]
    if tag in (part.strip().removeprefix("W/") for part in if_none_match.split(",")):
        return Answer(304, headers), "unchanged"
    return Answer(200, [*answer.headers, *headers], answer.body), "value"


def too_large() -> tuple[Answer, Outcome]:
    """Return the answer to a body with too many bytes."""
    details = f"The body has more than {MOST_BYTES} bytes."
    return _refusal(_RefusedError(413, "INVALID_CONTEXT", details, "invalid"), {})


def _flag(states: States, key: str, body: bytes) -> Flag:
    if key not in KEYS:
        raise _RefusedError(404, "FLAG_NOT_FOUND", f"There is no such flag. Use one of {', '.join(KEYS)}.", "no_flag")
    flag = flag_of(key, _state(states, body))
    if flag is None:
        raise _RefusedError(404, "FLAG_NOT_FOUND", "The state has no such parameter.", "no_flag")
    return flag


def _state(states: States, body: bytes) -> TenantState:
    tenant = _targeting_key(body)
    try:
        return states.state(tenant)
    except NotReady as error:
        raise _RefusedError(503, "PROVIDER_NOT_READY", str(error), "unknown") from None
    except (NotWatched, ValueError) as error:
        raise _RefusedError(400, "INVALID_CONTEXT", f"targetingKey: {error}", "invalid") from None


def _targeting_key(body: bytes) -> str:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _RefusedError(400, "PARSE_ERROR", "The body is no JSON document.", "invalid") from None
    context = document.get("context", {}) if isinstance(document, dict) else None
    if not isinstance(context, dict):
        raise _RefusedError(400, "INVALID_CONTEXT", "The body has no object `context`.", "invalid")
    key = context.get("targetingKey")
    if key is None or key == "":
        details = "The targeting key is the tenant: set `context.targetingKey`."
        raise _RefusedError(400, "TARGETING_KEY_MISSING", details, "no_tenant")
    if not isinstance(key, str):
        raise _RefusedError(400, "INVALID_CONTEXT", "targetingKey: use a string.", "invalid")
    return key


def _refusal(error: _RefusedError, more: dict[str, Any]) -> tuple[Answer, Outcome]:
    document = more | {"errorCode": error.code, "errorDetails": str(error)}
    return json_answer(error.status, document, _RETRY if error.outcome == "unknown" else ()), error.outcome


def _document(flag: Flag) -> dict[str, Any]:
    return {
        "key": flag.key,
        "value": flag.value,
        "reason": flag.reason,
        "variant": flag.variant,
        "metadata": flag.metadata,
    }
