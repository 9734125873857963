"""The OpenAPI document as a judge: every answer in the unit tests is held against it."""

import copy
import json
import re
from functools import cache
from typing import Any, Final

import httpx
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from api.openapi.document import document_of

ANYWHERE: Final = frozenset({404, 405, 500})
"""Statuses that the framework or a defect gives, whatever the route."""
_BASE: Final = "urn:openapi"
_documents: list[dict[str, Any]] = []


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document, made once for all tests: every application of theirs has the same routes."""
    if not _documents:
        strict = copy.deepcopy(document_of(app))
        for schema in strict["components"]["schemas"].values():
            if "properties" in schema:
                # A client takes more than it knows; a test does not.
                schema["additionalProperties"] = False
        _documents.append(strict)
    return _documents[0]


async def judge(app: FastAPI, response: httpx.Response) -> None:
    """Hold an answer against the document: its status, its headers, and its body against the schema."""
    operation = _operation(document(app), response.request.method, response.request.url.path)
    if operation is None:
        return
    described = operation["responses"].get(str(int(response.status_code)))
    if described is None:
        assert response.status_code in ANYWHERE, f"{response.request.url}: {response.status_code} is not described"
        return
    if response.status_code in ANYWHERE and "x-request-id" not in response.headers:
        return
    missing = {
        name
        for name, header in described["headers"].items()
        if header["required"] and name.lower() not in response.headers
    }
    assert not missing, f"{response.request.url}: {response.status_code} lacks {missing}"
    unknown = response.headers.keys() & _known_headers(document(app)) - {name.lower() for name in described["headers"]}
    assert not unknown, f"{response.request.url}: {response.status_code} has {unknown}, which is not described"
    if response.request.method == "HEAD":
        return
    media_type = response.headers["content-type"].partition(";")[0]
    schema = described["content"][media_type]["schema"]
    await response.aread()
    _validator(json.dumps(schema)).validate(response.json())


def _operation(described: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    for template, methods in described["paths"].items():
        if re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)), path):
            operation: dict[str, Any] | None = methods.get("get" if method == "HEAD" else method.lower())
            return operation
    return None


def _known_headers(described: dict[str, Any]) -> set[str]:
    return {
        name.lower()
        for methods in described["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
        for name in answer["headers"]
    }


@cache
def _validator(schema: str) -> Draft202012Validator:
    """Return a validator of a schema of the document, given as JSON."""
    pinned = schema.replace('"#/', f'"{_BASE}#/')
    resource = Resource.opaque(_documents[0])
    registry: Registry[Any] = Registry().with_resource(_BASE, resource)
    return Draft202012Validator(json.loads(pinned), registry=registry)
