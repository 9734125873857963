"""The output for a dead letter. Its content is escaped, since other programs wrote it."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from schemas.errors import printable
from schemas.wire.cloudevents import ReceivedHeaders
from sleepctl.ui.output import clock

if TYPE_CHECKING:
    from worker.recovery.dead_letters import DeadLetter

_SHOWN: Final = 128
_JSON_KEY: Final = 1024


def text_of(raw: bytes) -> str:
    """Return bytes as text in one line; bytes that are not text are escaped."""
    return printable(raw.decode(errors="backslashreplace"))


def attribute(dead_letter: "DeadLetter", name: str) -> str | None:
    """Return an attribute of the event in a dead letter, from its headers or its JSON; None if it has none."""
    received: ReceivedHeaders = dead_letter.headers
    for header, raw in received:
        if raw is not None and header.lower() in (f"ce_{name}", f"ce-{name}"):
            return raw.decode(errors="backslashreplace")
    event = _json(dead_letter.value)
    value = event.get(name) if isinstance(event, dict) else None
    return value if isinstance(value, str) else None


def _json(value: bytes | None) -> Any:  # noqa: ANN401 - any JSON
    try:
        return None if value is None else from_json(value)
    except ValueError:
        return None


def line(number: int, dead_letter: "DeadLetter", *, redriven: bool) -> str:
    """Return a dead letter in one line."""
    key = "no key" if dead_letter.key is None else f"key {text_of(dead_letter.key[:_SHOWN])}"
    event = "".join(
        f", {name} {printable(value[:_SHOWN])}"
        for name in ("source", "subject")
        if (value := attribute(dead_letter, name)) is not None
    )
    back = "  (put back)" if redriven else ""
    place = f"{printable(dead_letter.topic)} {dead_letter.partition}:{dead_letter.offset}"
    if dead_letter.offsets is not None:
        place += f" and more, {dead_letter.records} records in all"
    return (
        f"{number}  {dead_letter.place}  {clock(dead_letter.at)}  {place}  "
        f"{key}{event}, {dead_letter.size} bytes  {dead_letter.code}: {_reason(dead_letter)}{back}"
    )


def _reason(dead_letter: "DeadLetter") -> str:
    """Return the last line of a message; in a traceback it names the error."""
    return printable((dead_letter.message.splitlines() or [""])[-1])


def document(number: int, dead_letter: "DeadLetter", *, redriven: bool) -> dict[str, Any]:
    """Return a dead letter as JSON, without headers and value."""
    shown = dead_letter._asdict()
    del shown["value"], shown["headers"]
    return shown | {
        "number": number,
        "key": None if dead_letter.key is None else dead_letter.key[:_JSON_KEY].decode(errors="backslashreplace"),
        "source": attribute(dead_letter, "source"),
        "subject": attribute(dead_letter, "subject"),
        "cut": dead_letter.cut,
        "redriven": redriven,
    }


def full_document(number: int, dead_letter: "DeadLetter", *, redriven: bool) -> dict[str, Any]:
    """Return a dead letter as JSON, with headers and value; base64 keeps every byte of the value."""
    value = dead_letter.value
    received: ReceivedHeaders = dead_letter.headers
    return document(number, dead_letter, redriven=redriven) | {
        "headers": [
            {"name": name, "value": None if raw is None else raw.decode(errors="backslashreplace")}
            for name, raw in received
        ],
        "value": None if value is None else value.decode(errors="backslashreplace"),
        "value_base64": None if value is None else b64encode(value).decode(),
    }


def details(number: int, dead_letter: "DeadLetter", *, redriven: bool) -> Iterator[str]:
    """Yield the lines that show a dead letter: its source, its reason, its headers and its value."""
    key = "none" if dead_letter.key is None else text_of(dead_letter.key)
    facts = {
        "number": str(number),
        "place": dead_letter.place,
        "from": f"{printable(dead_letter.topic)} {dead_letter.partition}:{dead_letter.offset}",
        "at": clock(dead_letter.at),
        "key": key,
        "source": attribute(dead_letter, "source"),
        "subject": attribute(dead_letter, "subject"),
        "size": f"{dead_letter.size} bytes" + (", of which a part is missing here" if dead_letter.cut else ""),
        "put back": "yes" if redriven else "no",
        "code": dead_letter.code,
        "records": None if dead_letter.offsets is None else f"{dead_letter.records}, of which the first is shown",
        "offsets": dead_letter.offsets,
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        if fact is not None:
            yield f"{name:<{width}}  {printable(fact)}"
    yield from _block("message", dead_letter.message)
    received: ReceivedHeaders = dead_letter.headers
    yield "headers" if received else "headers: none"
    for name, raw in received:
        yield f"  {printable(name)}: {'null' if raw is None else text_of(raw)}"
    if dead_letter.value is None:
        yield "value: none"
        return
    parsed = _json(dead_letter.value)
    pretty = None if parsed is None else json.dumps(parsed, indent=2, ensure_ascii=False)
    yield from _block("value", pretty or dead_letter.value.decode(errors="backslashreplace"))


def _block(title: str, text: str) -> Iterator[str]:
    yield title
    for part in text.split("\n"):
        yield f"  {printable(part)}"
