"""10,000 random changes of what each library emitted raise nothing but the named error."""

import copy
import json
import random
from typing import Any, Final, get_args

import pytest

from schemas.formats.places import Message
from schemas.formats.read import read
from schemas.formats.report import Reading
from schemas.formats.settings import FormatName, TopicFormat
from schemas.wire.cloudevents import UndecodableError
from tests.support.emitted import Emitted, emitted, topic_format

MUTATIONS: Final = 10_000
SEED: Final = 16
PLACES: Final = {
    "cloudevents": {"tenant": "subject"},
    "resilience4j": {"tenant": "pattern:{tenant}"},
    "opossum": {"tenant": "field:state.name"},
    "envoy": {"tenant": "field:cluster_name", "instance": "header:proxy"},
}
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 3, 1.5, 10**30, -(10**400), "", "\x00", "a@b", "é" * 300, "4", "EJECT", "firing",
    "CLOSED_TO_OPEN", "9999-12-31T23:59:59.9-23:59", "0001-01-01T00:00:00+23:59", [], {}, [{}], [None], {"a": {"b": 1}},
)  # fmt: skip


def _samples(format_: str) -> list[Emitted]:
    if format_ != "cloudevents":
        return emitted(format_)
    event = {"specversion": "1.0", "id": "1", "source": "/", "type": "sleep.breaker.v1", "subject": "acme"}
    return [Emitted(b"k", json.dumps(event | {"data": {"breaker": "payments", "state": "open"}}).encode())]


def _places(document: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:  # noqa: ANN401 - any JSON
    """Return each object and array of a document with each of its keys and indices."""
    keys = document.keys() if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in list(keys):
        found.append((document, key))
        _places(document[key], found)
    return found


def _mutated(random_: random.Random, sample: bytes) -> bytes:
    """Return a document with a few changed fields, or with a few changed bytes."""
    if random_.random() < 0.4:
        body = bytearray(sample)
        for _ in range(random_.randrange(1, 6)):
            at = random_.randrange(len(body) + 1)
            body[at : at + random_.randrange(4)] = random_.randbytes(random_.randrange(4))
        return bytes(body)
    document = json.loads(sample)
    for _ in range(random_.choice((1, 1, 2))):
        container, key = random_.choice(_places(document, [(document, next(iter(document)))]))
        if random_.random() < 0.3 and isinstance(container, dict):
            container.pop(key, None)
        elif random_.random() < 0.2 and isinstance(container, dict):
            container[random_.choice(("type", "state", "alerts", "circuitBreakerEvents", "x"))] = container.get(key)
        else:
            value = random_.choice(VALUES)
            container[key] = copy.deepcopy(value) if isinstance(value, dict | list) else value
        if not document:
            break
    return json.dumps(document).encode()


def _result(message: Message, settings: TopicFormat) -> Reading | UndecodableError:
    try:
        return read(message, settings)
    except UndecodableError as error:
        return error


@pytest.mark.parametrize("format_", get_args(FormatName))
def test_random_changes_raise_nothing_but_the_named_error(format_: str) -> None:
    """Whatever is returned can be published; some of it is, and most of it names format and field."""
    random_ = random.Random(f"{SEED}{format_}")
    settings, samples = topic_format(format_, **PLACES.get(format_, {})), _samples(format_)
    read_count = refused_count = 0
    for _ in range(MUTATIONS):
        sample = random_.choice(samples)
        headers = [("tenant", b"acme"), ("proxy", b"p-1")] if random_.random() < 0.9 else [("proxy", None)]
        key = sample.key if random_.random() < 0.9 else random_.choice((None, b"", b"\xff", b"a b"))
        result = _result(Message(_mutated(random_, sample.value), headers, key), settings)
        if isinstance(result, UndecodableError):
            refused_count += 1
            assert format_ == "cloudevents" or str(result).startswith(f"{format_}: ")
            assert result.code != "invalid_event" or result.errors
        else:
            read_count += 1
            assert all(event.subject and event.data.breaker for event in result.events)
    assert read_count > 500
    assert refused_count > 1_000
