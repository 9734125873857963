"""The page at `/docs`: the OpenAPI document as plain HTML, without a script or anything from outside."""

import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{border-top:1px solid #999;padding-top:1rem}code{font:14px/1.4 ui-monospace,monospace}"
    "td,th{text-align:left;padding:0 1rem 0 0;vertical-align:top}"
)
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
)


def page(document: dict[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    routes = "".join(
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    models = "".join(_model(name, model) for name, model in document["components"]["schemas"].items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>The same for machines: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
        f"{routes}<h1>Documents</h1>{models}</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody")
    parameters = [
        (
            f"{parameter['name']} ({parameter['in']}{', needed' if parameter['required'] else ''})",
            f"{_type(parameter['schema'])}. {parameter.get('description', '')}",
        )
        for parameter in operation.get("parameters", ())
    ]
    answers = [
        (status, f"{answer['description']} {_names(answer)}".strip())
        for status, answer in operation["responses"].items()
    ]
    return (
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
        f"<p>{_text(operation.get('summary', ''))} {_text(operation.get('description', ''))}</p>"
        + (f"<p>Body: {_names(body)}</p>" if body else "")
        + _table(parameters)
        + _table(answers)
    )


def _text(text: str) -> str:
    """Return a text as HTML; what stands between backticks in it is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _names(content: dict[str, Any]) -> str:
    """Return the documents that a body or an answer holds, each with the forms that it may come in."""
    forms: dict[str, list[str]] = {}
    for media_type, media in content.get("content", {}).items():
        schema = media.get("schema", {})
        if "$ref" in schema or schema.get("type") == "array":
            forms.setdefault(_type(schema), []).append(media_type)
    return ", ".join(f"{escape(name)} ({escape(', '.join(of))})" for name, of in forms.items())


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(head)}</th><td>{_text(text)}</td></tr>" for head, text in rows)
    return f"<table>{cells}</table>"


def _model(name: str, model: dict[str, Any]) -> str:
    if "enum" in model:
        return f"<h2>{escape(name)}</h2>{_table([('one of', _type(model))])}"
    required = model.get("required", ())
    rows = [(field if field in required else f"{field}?", _type(shape)) for field, shape in model["properties"].items()]
    return f"<h2>{escape(name)}</h2><p>{_text(model.get('description', ''))}</p>{_table(rows)}"


def _type(shape: dict[str, Any]) -> str:
    """Return what a field may hold, in a few words."""
    of_type = shape.get("type", "anything")
    if "$ref" in shape:
        text: str = shape["$ref"].rsplit("/", 1)[1]
    elif "enum" in shape:
        text = " / ".join(map(str, shape["enum"]))
    elif "oneOf" in shape:
        text = " or ".join(map(_type, shape["oneOf"]))
    elif isinstance(of_type, list):
        text = " or ".join(of_type)
    elif of_type == "array":
        text = f"list of {_type(shape.get('items', {}))}"
    else:
        text = of_type
    described = shape.get("description")
    return f"{text}. {described}" if described else text
