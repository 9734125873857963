"""The OpenAPI document: routes as FastAPI knows them, bodies and answers as this API makes them."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import documents
from api.bodies import ModeBody, SleepBody
from api.problems import PROBLEM_TYPE
from schemas.policy import PolicyDocument

_REF: Final = "#/components/schemas/"
_MODELS: Final[tuple[type[BaseModel], ...]] = (
    SleepBody,
    ModeBody,
    PolicyDocument,
    documents.OperationDocument,
    documents.OperationList,
    documents.TenantDocument,
    documents.PolicyAnswer,
    documents.Problem,
)

Responses = dict[int | str, dict[str, Any]]
_ACCEPTED: Final = "Published; the outcome is found at Location."


def _content(model: type[BaseModel], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"{_REF}{model.__name__}"}}}


def answers(model: type[BaseModel], description: str, *, may_wait: bool = False) -> Responses:
    """Return a route's `responses`: its answer, 202 where it waits for an outcome, and problems."""
    responses: Responses = {200: {"description": description, "content": _content(model)}}
    if may_wait:
        responses[202] = {"description": _ACCEPTED, "content": _content(documents.OperationDocument)}
    responses["default"] = {"description": "A problem.", "content": _content(documents.Problem, PROBLEM_TYPE)}
    return responses


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
        _, definitions = models_json_schema(
            [(model, "validation") for model in _MODELS], ref_template=f"{_REF}{{model}}"
        )
        made.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        app.openapi_schema = made
    return app.openapi_schema
