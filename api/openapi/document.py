"""The OpenAPI document: FastAPI's description of the routes, with this API's own bodies and responses.

The models of requests also validate them, and tests compare the responses with their models. `portable` converts the
JSON Schemas into the form that client generators read.
"""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.commands.cloudevents import BATCH, PLAIN
from api.errors.catalog import KINDS, REFUSALS
from api.errors.problem_document import Problem
from api.http.bodies import ModeBody, SleepBody
from api.http.etag import TAGS_PATTERN
from api.http.idempotency import KEY_PATTERN
from api.openapi.headers import headers_of
from api.openapi.portable import REF, components, portable
from api.streaming import sse
from schemas.domain.policy import PolicyDocument
from schemas.domain.values import TENANT_PATTERN
from schemas.formats.settings import HTTP_FORMATS
from schemas.http.early_answers import PROBLEM_TYPE
from schemas.wire import documents, platform_documents
from schemas.wire.events import BreakerEvent
from schemas.wire.runs import RUN_HEADER, RUN_PATTERN

_REQUESTS: Final[tuple[type[BaseModel], ...]] = (SleepBody, ModeBody, PolicyDocument, BreakerEvent)
_ANSWERS: Final[tuple[type[BaseModel], ...]] = (
    documents.OperationDocument,
    documents.OperationList,
    documents.SleepModeDocument,
    documents.PolicyAnswer,
    documents.PreviewDocument,
    platform_documents.TenantPage,
    platform_documents.AuditPage,
    platform_documents.DeadLetterPage,
    platform_documents.PermissionList,
    platform_documents.PartitionList,
    platform_documents.CountsHistory,
    documents.AcceptedEvents,
    Problem,
)

GUARDED: Final = (
    "malformed_request",
    "unauthenticated",
    "invalid_token",
    "forbidden",
    "invalid_request",
    "quota_exceeded",
    "too_many_unread_answers",
    "overloaded",
    "too_many_connections",
    "too_many_in_flight",
    "jwks_unavailable",
    "opa_unavailable",
    "redis_unavailable",
)
"""The problems of every route that needs a token."""
BODY: Final = ("request_timeout", "body_too_large", "unsupported_media_type")
"""Further problems of every route that reads a body."""
COMMAND: Final = ("idempotency_conflict", "too_late", "body_too_large", "outcome_unknown", "kafka_unavailable")
"""Further problems of every command."""
# As strings. FastAPI would describe the types that it parses headers into.
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Idempotency-Key": {"type": "string", "pattern": KEY_PATTERN},
    "If-Match": {"type": "string", "pattern": TAGS_PATTERN},
    "Last-Event-ID": {"type": "string"},
    "Prefer": {"type": "string"},
    RUN_HEADER: {"type": "string", "pattern": RUN_PATTERN},
    "X-Tenant-Id": {"type": "string", "pattern": TENANT_PATTERN},
}
_REQUIRED: Final = frozenset({"If-Match"})
Responses = dict[int | str, dict[str, Any]]
_ACCEPTED: Final = "Published; the outcome is found at Location."
# Statuses of refusals by the log: the response names the operation.
_LOCATED: Final = frozenset({KINDS[code].status for code in REFUSALS} | {KINDS["outcome_unknown"].status})


def _content(model: type[BaseModel], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"{REF}{model.__name__}"}}}


def problems(*codes: str, command: bool = False) -> Responses:
    """Return the problems of a route by status: those of every route with a token, and these."""
    titles: dict[int, list[str]] = {}
    for code in sorted({*GUARDED, *codes}):
        titles.setdefault(KINDS[code].status, []).append(f"`{code}`: {KINDS[code].title}.")
    content = _content(Problem, PROBLEM_TYPE)
    return {
        status: {
            "description": " ".join(titles[status]),
            "headers": headers_of(status, maybe=("Location",) if command and status in _LOCATED else ()),
            "content": content,
        }
        for status in sorted(titles)
    }


def describe(
    model: type[BaseModel], description: str, *codes: str, may_wait: bool = False, headers: tuple[str, ...] = ()
) -> Responses:
    """Return a route's `responses`: its answer, 202 if it waits for an outcome, and problems with these codes.

    Args:
        model: the document of the answer.
        description: of the answer.
        codes: the problems of the route, besides those of every route.
        may_wait: whether the route publishes a command, and may answer before its outcome is known.
        headers: headers that the answer always has, besides those of every answer.
    """
    preference = ("Preference-Applied",) if may_wait else ()
    responses: Responses = {
        200: {"description": description, "headers": headers_of(200, headers, preference), "content": _content(model)}
    }
    if may_wait:
        responses[202] = {
            "description": _ACCEPTED,
            "headers": headers_of(202, ("Location",), preference),
            "content": _content(documents.OperationDocument),
        }
    return responses | problems(*codes, *(COMMAND if may_wait else ()), command=may_wait)


class StreamAnswer(Response):
    """Tells FastAPI the media type of streams; routes return another class."""

    media_type = sse.MEDIA_TYPE


def streams(description: str) -> Responses:
    """Return the `responses` of a route that streams events."""
    content = {sse.MEDIA_TYPE: {"schema": {"type": "string"}}}
    answer = {"description": description, "headers": headers_of(200), "content": content}
    return {200: answer} | problems("kafka_unavailable", "too_many_streams")


def accepts(model: type[BaseModel], description: str) -> Responses:
    """Return the 202 of a route whose work is done once its events are in the log."""
    headers = headers_of(200)  # There is nothing to wait for: no `Retry-After`.
    return {202: {"description": description, "headers": headers, "content": _content(model)}}


def takes_events() -> dict[str, Any]:
    """Return a route's `openapi_extra` for CloudEvents: a batch, which may hold one event.

    The route's description names the other forms. From a body with several media types openapi-python-client would
    generate a module that cannot be imported.
    """
    batch = {"type": "array", "items": {"$ref": f"{REF}{BreakerEvent.__name__}"}}
    return {"requestBody": {"required": True, "content": {BATCH: {"schema": batch}}}}


def takes_reports() -> dict[str, Any]:
    """Return a route's `openapi_extra` for a document in the format of a library."""
    return {"requestBody": {"required": True, "content": {PLAIN: {"schema": {"type": "object"}}}}}


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """Return a route's `openapi_extra` for a JSON body."""
    return {"requestBody": {"required": True, "content": _content(model)}}


def document_of(app: FastAPI) -> dict[str, Any]:
    """Return the application's OpenAPI 3.1 document, which is generated once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version=app.openapi_version,
            description=app.description,
            routes=app.routes,
        )
        for path in document["paths"].values():
            for operation in path.values():
                for parameter in operation.get("parameters", ()):
                    _describe_parameter(parameter)
        document.setdefault("components", {})["schemas"] = _schemas()
        app.openapi_schema = document
    return app.openapi_schema


def _schemas() -> dict[str, Any]:
    """Return the components of requests and answers.

    Responses may get new fields later, and clients that were generated before must accept them.
    """
    models = [(model, "validation") for model in (*_REQUESTS, *_ANSWERS)]
    _, definitions = models_json_schema(models, ref_template=f"{REF}{{model}}")  # type: ignore[arg-type] # a list of literals
    schemas = components(definitions["$defs"])
    strict = {model.__name__ for model in _REQUESTS}
    reached = {name for model in strict for name in _reached(schemas, model)}
    for name in schemas.keys() - reached:
        schemas[name].pop("additionalProperties", None)
    return schemas


def _reached(schemas: dict[str, Any], name: str) -> Iterator[str]:
    """Yield a component and all components that it refers to."""
    yield name
    pending: list[Any] = [schemas[name]]
    while pending:
        match pending.pop():
            case {"$ref": str(reference)}:
                yield from _reached(schemas, reference.removeprefix(REF))
            case dict() as members:
                pending.extend(members.values())
            case list() as items:
                pending.extend(items)
            case _:
                pass


def _describe_parameter(parameter: dict[str, Any]) -> None:
    """Set the real name and pattern of a header, and the pattern of an id; remove null and defaults."""
    schema = parameter["schema"]
    if parameter["name"] == "operation_id":
        # The route accepts any id. This is the form of ids that the API makes: no character needs percent-encoding.
        schema = {"type": "string", "pattern": "^[0-9A-Za-z][0-9A-Za-z._:~-]{0,127}$"}
    if parameter["name"] == "format":
        schema = {"type": "string", "pattern": f"^({'|'.join(HTTP_FORMATS)})$"}
    if parameter["in"] == "header":
        name = next(header_name for header_name in _HEADERS if header_name.lower() == parameter["name"].lower())
        parameter |= {"name": name, "required": name in _REQUIRED}
        schema = _HEADERS[name]
    [not_null] = [form for form in schema.get("anyOf", [schema]) if form != {"type": "null"}]
    parameter["schema"] = portable(not_null)
