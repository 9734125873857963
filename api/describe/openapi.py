"""The OpenAPI document: routes as FastAPI knows them, bodies and answers as this API makes them."""

from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.describe import documents
from api.describe.kinds import KINDS
from api.describe.problems import PROBLEM_TYPE
from api.door.bodies import ModeBody, SleepBody
from api.door.etag import TAGS_PATTERN
from api.door.idempotency import KEY_PATTERN
from api.publish.cloudevents import BATCH, PLAIN, STRUCTURED
from api.stream import sse
from schemas.events import BreakerEvent
from schemas.policy import PolicyDocument
from schemas.values import IDENTIFIER_PATTERN, TENANT_PATTERN

_REF: Final = "#/components/schemas/"
_MODELS: Final[tuple[type[BaseModel], ...]] = (
    SleepBody,
    ModeBody,
    PolicyDocument,
    documents.OperationDocument,
    documents.OperationList,
    documents.TenantDocument,
    documents.PolicyAnswer,
    documents.PreviewDocument,
    documents.TenantPage,
    documents.AcceptedEvents,
    BreakerEvent,
    documents.Problem,
)

GUARDED: Final = (
    "malformed_request",
    "unauthenticated",
    "invalid_token",
    "forbidden",
    "invalid_request",
    "quota_exceeded",
    "jwks_unavailable",
    "opa_unavailable",
    "redis_unavailable",
)
"""What every route that wants a token may answer."""
BODY: Final = ("request_timeout", "body_too_large", "unsupported_media_type")
"""What every route that reads a body may answer besides."""
COMMAND: Final = ("idempotency_conflict", "too_late", "body_too_large", "outcome_unknown", "kafka_unavailable")
"""What every command may be answered besides."""
# As strings, which is what a header is; FastAPI would describe what it parses them into.
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Idempotency-Key": {"type": "string", "pattern": KEY_PATTERN},
    "If-Match": {"type": "string", "pattern": TAGS_PATTERN},
    "Last-Event-ID": {"type": "string"},
    "Prefer": {"type": "string"},
    "X-Tenant-Id": {"type": "string", "pattern": TENANT_PATTERN},
}
_REQUIRED: Final = frozenset({"If-Match"})
Responses = dict[int | str, dict[str, Any]]
_ACCEPTED: Final = "Published; the outcome is found at Location."


def _content(model: type[BaseModel], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"{_REF}{model.__name__}"}}}


def problems(*codes: str) -> Responses:
    """Return the `responses` that are problems: those of every guarded route, and these, by their status."""
    titles: dict[int, list[str]] = {}
    for code in sorted({*GUARDED, *codes}):
        titles.setdefault(KINDS[code].status, []).append(f"`{code}`: {KINDS[code].title}.")
    content = _content(documents.Problem, PROBLEM_TYPE)
    return {status: {"description": " ".join(titles[status]), "content": content} for status in sorted(titles)}


def answers(model: type[BaseModel], description: str, *codes: str, may_wait: bool = False) -> Responses:
    """Return a route's `responses`: its answer, 202 where it waits for an outcome, and problems with these codes."""
    responses: Responses = {200: {"description": description, "content": _content(model)}}
    if may_wait:
        responses[202] = {"description": _ACCEPTED, "content": _content(documents.OperationDocument)}
    return responses | problems(*codes, *(COMMAND if may_wait else ()))


class StreamAnswer(Response):
    """Names the media type of streams to FastAPI; routes return their own answer."""

    media_type = sse.MEDIA_TYPE


def streams(description: str) -> Responses:
    """Return the `responses` of a route that streams events."""
    answer = {"description": description, "content": {sse.MEDIA_TYPE: {"schema": {"type": "string"}}}}
    return {200: answer} | problems("kafka_unavailable", "too_many_streams")


def accepts(model: type[BaseModel], description: str) -> Responses:
    """Return the 202 of a route whose work is done once the log has it."""
    return {202: {"description": description, "content": _content(model)}}


def takes_events() -> dict[str, Any]:
    """Return a route's `openapi_extra` for CloudEvents: one, or a batch. Binary mode has its attributes in headers."""
    event = {"$ref": f"{_REF}{BreakerEvent.__name__}"}
    batch = {"type": "array", "items": event}
    content = {form: {"schema": schema} for form, schema in ((STRUCTURED, event), (PLAIN, event), (BATCH, batch))}
    return {"requestBody": {"required": True, "content": content}}


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """Return a route's `openapi_extra` for a JSON body."""
    return {"requestBody": {"required": True, "content": _content(model)}}


def document_of(app: FastAPI) -> dict[str, Any]:
    """Return the application's OpenAPI 3.1 document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version=app.openapi_version,
            description=app.description,
            routes=app.routes,
        )
        for parameter in (each for path in made["paths"].values() for each in _parameters(path)):
            _describe(parameter)
        _, definitions = models_json_schema(
            [(model, "validation") for model in _MODELS], ref_template=f"{_REF}{{model}}"
        )
        made.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        app.openapi_schema = made
    return app.openapi_schema


def _parameters(path: dict[str, Any]) -> list[dict[str, Any]]:
    return [parameter for operation in path.values() for parameter in operation.get("parameters", ())]


def _describe(parameter: dict[str, Any]) -> None:
    """Give a header its real name and form, and an id its form."""
    if parameter["name"] == "operation_id":
        parameter["schema"] = {"type": "string", "pattern": IDENTIFIER_PATTERN}
    if parameter["in"] == "header":
        name = next(known for known in _HEADERS if known.lower() == parameter["name"].lower())
        parameter |= {"name": name, "required": name in _REQUIRED, "schema": _HEADERS[name]}
