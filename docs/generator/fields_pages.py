"""The pages that list the fields of events and of documents."""

import json
from collections.abc import Iterator
from inspect import getdoc
from typing import Any, Final

from pydantic import BaseModel

from docs.generator.json_schemas import DOCUMENTS, EVENTS, json_schema
from docs.generator.markdown import table
from schemas.domain import values

_EVENTS_INTRO: Final = (
    "For authors of emitters and readers of the events topic. Every record of that topic is one of these "
    "CloudEvents 1.0. "
    "[What an event may look like](event-forms.md) has the forms."
)


def events_page() -> str:
    """Return the page of the events' fields."""
    return _fields_page("Events", _EVENTS_INTRO, EVENTS)


def records_page() -> str:
    """Return the page of the fields of records and documents."""
    return _fields_page(
        "Records and documents",
        "For authors of policies and for readers of the topics and the API. This page lists each field. "
        "`/openapi.json` has the answers that are not listed here.",
        DOCUMENTS,
    )


def _fields_page(title: str, intro: str, models: dict[str, type[BaseModel]]) -> str:
    sections = [f"# {title}\n\n{intro} Times are integer milliseconds since the epoch.\n"]
    shown: set[str] = set()
    for name, model in models.items():
        schema = json_schema(name, model)
        sections.append(f"## {name}.v1\n\n{getdoc(model)}\n\n{_fields_table(schema)}")
        for part, found in sorted(schema.get("$defs", {}).items()):
            if part not in shown:
                shown.add(part)
                sections.append(f"### {part}\n\n{found.get('description', '')}\n\n{_fields_table(found)}")
    return "\n".join(sections)


def _fields_table(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"`{field}`",
            _type_of(found),
            "yes" if field in required else _optional(found),
            found.get("description", ""),
        )
        for field, found in schema["properties"].items()
    ]
    return table(("field", "type", "required", "meaning"), rows)


def _optional(found: dict[str, Any]) -> str:
    default = found.get("default")
    return "no" if default is None or isinstance(default, dict | list) else f"no, `{json.dumps(default)}`"


def _type_of(found: dict[str, Any]) -> str:
    """Return a field's type and limits in words."""
    if "$ref" in found:
        part = found["$ref"].rpartition("/")[2]
        return f"[{part}](#{part.lower()})"
    if "anyOf" in found:
        return " or ".join(_type_of(one) for one in found["anyOf"])
    if "const" in found or "enum" in found:
        return ", ".join(f"`{value}`" for value in found.get("enum", [found.get("const")]))
    if found.get("type") == "array":
        most = f", at most {found['maxItems']}" if "maxItems" in found else ""
        return f"list of {_type_of(found['items'])}{most}"
    return "".join((found.get("type", "any"), *_limits(found)))


def _limits(found: dict[str, Any]) -> Iterator[str]:
    if "exclusiveMinimum" in found:
        yield f", above {found['exclusiveMinimum']:,.0f}"
    elif "minimum" in found:
        yield f", from {found['minimum']:,.0f}"
    if "maximum" in found:
        yield f", to {found['maximum']:,.0f}"
    if "minLength" in found:
        yield f", at least {found['minLength']}"
    if "maxLength" in found:
        yield f", at most {found['maxLength']} characters"
    if "pattern" in found:
        yield f", {values.IN_WORDS[found['pattern']]}"
