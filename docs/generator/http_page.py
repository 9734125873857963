"""The page of the HTTP API, made from the OpenAPI document."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from api.errors.catalog import KINDS
from docs.generator.markdown import table
from docs.generator.openapi import openapi

_INTRO: Final = """\
# HTTP API

For authors of clients. This page lists each request of the API, with its parameters, its body and its answers.

- Each request needs the header `Authorization: Bearer TOKEN`. [Scopes](scopes.md) says which scope allows what.
- Each error is a problem document. [Errors](errors.md) has the causes and the cures.
- [Call the API](../how-to/call-the-api.md) shows how to send a command, and how to send it again safely.
- [`openapi.json`](../../schemas/json/openapi.json) has the same for generators of clients. A running API serves it at
  `/openapi.json`, and a page to try requests at `/docs`.

A word in braces in a path, such as `{operation_id}`, is a parameter.
"""
_COMMON: Final = "Each request may get these problems, beside its own:"
_JSON: Final = ("application/json", "application/problem+json")
_METHODS: Final = ("get", "post", "put", "delete")
_PROBLEMS_FROM: Final = 400


def http_page() -> str:
    """Return the page of the HTTP API."""
    document = openapi()
    found = [
        (method, path, operations[method])
        for path, operations in document["paths"].items()
        for method in _METHODS
        if method in operations
    ]
    rows = [(f"[`{method.upper()} {path}`](#{_anchor(each)})", each["summary"]) for method, path, each in found]
    problems = [_problems(each) for _, _, each in found]
    common = [each for each in problems[0] if all(each in others for others in problems)]
    sections = [_section(method, path, each, common) for method, path, each in found]
    parts = [_part(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    top = table(("request", "what it does"), rows)
    return "\n".join([_INTRO, top, f"{_COMMON}\n\n{_problem_list(common)}\n", *sections, "## Documents\n", *parts])


def _anchor(operation: Mapping[str, Any]) -> str:
    return str(operation["operationId"]).lower()


def _section(method: str, path: str, operation: Mapping[str, Any], common: Sequence[tuple[str, str]]) -> str:
    parts = [f"## {operation['operationId']}\n\n`{method.upper()} {path}`\n\n{operation['summary']}"]
    if (more := operation.get("description", "")) and more != operation["summary"]:
        parts.append(more)
    if parameters := operation.get("parameters"):
        rows = [
            (f"`{each['name']}`", each["in"], _kind(each["schema"]), _yes(each), each.get("description", ""))
            for each in parameters
        ]
        parts.append(table(("parameter", "in", "type", "required", "meaning"), rows).rstrip())
    if body := operation.get("requestBody"):
        forms = [f"`{media}`: {_kind(content['schema'])}" for media, content in body["content"].items()]
        parts.append("Body:\n\n" + "\n".join(f"- {form}" for form in forms))
    answers = [
        (status, _first_line(answer["description"]), _documents(answer))
        for status, answer in sorted(operation["responses"].items())
        if int(status) < _PROBLEMS_FROM
    ]
    parts.append(table(("status", "meaning", "body"), answers).rstrip())
    if own := [each for each in _problems(operation) if each not in common]:
        parts.append(f"Problems:\n\n{_problem_list(own)}")
    return "\n\n".join(parts) + "\n"


def _problems(operation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return status and code of each problem of a request."""
    return [
        (status, code)
        for status, answer in sorted(operation["responses"].items())
        if int(status) >= _PROBLEMS_FROM
        for code in answer["description"].split("`")[1::2]
        if code in KINDS
    ]


def _problem_list(problems: Iterable[tuple[str, str]]) -> str:
    """Return a line a status, with a link to the page of errors for each code."""
    return "\n".join(
        f"- {status}: " + ", ".join(f"[`{code}`](errors.md#{code})" for _, code in group)
        for status, group in groupby(problems, key=itemgetter(0))
    )


def _documents(answer: Mapping[str, Any]) -> str:
    return ", ".join(_content(media, each["schema"]) for media, each in answer.get("content", {}).items())


def _content(media: str, schema: Mapping[str, Any]) -> str:
    return _kind(schema) if media in _JSON else f"`{media}`"


def _part(name: str, schema: Mapping[str, Any]) -> str:
    head = f"### {name}\n\n{schema.get('description', '')}".rstrip()
    if "properties" not in schema:
        return f"{head}\n\nType: {_kind(schema)}.\n"
    required = schema.get("required", ())
    rows = [
        (f"`{field}`", _kind(found), "yes" if field in required else "no", found.get("description", ""))
        for field, found in schema["properties"].items()
    ]
    return f"{head}\n\n{table(('field', 'type', 'required', 'meaning'), rows)}"


def _yes(parameter: Mapping[str, Any]) -> str:
    return "yes" if parameter.get("required") else "no"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a type in words; a document is a link to its fields."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(_kind(each) for each in schema[key])
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    return ", ".join(_parts(schema))


def _parts(schema: Mapping[str, Any]) -> Iterator[str]:
    kind = schema.get("type", "any value")
    kinds = kind if isinstance(kind, list) else [kind]
    if kinds == ["array"]:
        yield f"list of {_kind(schema.get('items', {}))}"
    else:
        yield " or ".join(kinds)
    if "minimum" in schema:
        yield f"from {schema['minimum']:,}"
    if "maximum" in schema:
        yield f"to {schema['maximum']:,}"
    if "maxLength" in schema:
        yield f"at most {schema['maxLength']:,} characters"
    if "maxItems" in schema:
        yield f"at most {schema['maxItems']:,}"
    if "default" in schema:
        yield f"default `{schema['default']}`"
