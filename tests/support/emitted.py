"""What real libraries emitted (tests/formats), and a shorthand to read it."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from schemas.formats.places import Message
from schemas.formats.read import read
from schemas.formats.report import Reading
from schemas.formats.settings import TopicFormat
from schemas.wire.cloudevents import UndecodableError
from schemas.wire.events import BreakerEvent

_FOLDER: Final = Path(__file__).resolve().parents[1] / "formats"
_TENANTS: Final = {"alertmanager": "label:tenant"}


class Emitted(NamedTuple):
    """A key and a document; the key is that of gobreaker's store, else that of a process."""

    key: bytes
    value: bytes

    @property
    def document(self) -> Any:  # noqa: ANN401 - any JSON
        """The document as JSON."""
        return json.loads(self.value)


def emitted(format_: str) -> list[Emitted]:
    """Return what the library of a format emitted, in order."""
    [path] = (_FOLDER / format_).glob("emitted.*")
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [Emitted((line[0] if len(line) > 1 else "pod-1").encode(), line[-1].encode()) for line in lines]


def topic_format(format_: str, **places: str) -> TopicFormat:
    """Return the settings of a topic: by default the tenant is in the header `tenant`, or in a label."""
    tenant = _TENANTS.get(format_, "header:tenant")
    return TopicFormat.model_validate({"format": format_, "tenant": tenant, **places})


def read_as(format_: str, document: object, key: bytes | None = b"pod-1", **places: str) -> Reading:
    """Read a document, or bytes, that a process of `acme` wrote."""
    value = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read(Message(value, [("tenant", b"acme")], key), topic_format(format_, **places))


def event_of(format_: str, document: object, key: bytes | None = b"pod-1", **places: str) -> BreakerEvent:
    """Return the only event of a document."""
    [event] = read_as(format_, document, key, **places).events
    return event


def states_of(format_: str) -> list[str | None]:
    """Return the state in each document that the library emitted; None for one without an event."""
    readings = [read_as(format_, each.value, each.key) for each in emitted(format_)]
    return [reading.events[0].data.state if reading.events else None for reading in readings]


def refused(format_: str, document: object, key: bytes | None = b"pod-1", **places: str) -> UndecodableError:
    """Return why a document is refused. The text names the format."""
    with pytest.raises(UndecodableError) as error:
        read_as(format_, document, key, **places)
    assert str(error.value).startswith(f"{format_}: ")
    return error.value


def wrong_field(format_: str, document: object, key: bytes | None = b"pod-1", **places: str) -> str:
    """Return the field for which a document is refused."""
    error = refused(format_, document, key, **places)
    [finding] = error.errors
    assert error.code == "invalid_event"
    assert finding.field in str(error)
    return finding.field
