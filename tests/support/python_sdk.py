"""Breaker events as the Python SDK of CloudEvents writes them: both interfaces, both bindings, each kind of data."""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cloudevents.core.bindings import http, kafka
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.conversion import to_binary as earlier_to_binary
from cloudevents.v1.conversion import to_structured as earlier_to_structured
from cloudevents.v1.http import CloudEvent as EarlierEvent
from cloudevents.v1.kafka import to_binary as earlier_to_kafka_binary
from cloudevents.v1.kafka import to_structured as earlier_to_kafka_structured

DATA: Final[dict[str, Any]] = {"breaker": "payments", "instance": "pod-1", "state": "half-open"}
TEXT: Final = json.dumps(DATA)
KINDS: Final[dict[str, Any]] = {"object": DATA, "bytes": TEXT.encode(), "text": TEXT}
MORE: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "typed": {"datacontenttype": "application/vnd.breaker+json"},
    "extended": {"partitionkey": "any", "dataschema": "urn:schema:1", "vendor": "café €"},
}


class Written(NamedTuple):
    """What the SDK gives to a transport."""

    headers: dict[str, Any]
    body: bytes


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _events(prefix: str, write: dict[str, Callable[[dict[str, Any], Any], Written]]) -> dict[str, Written]:
    """Return each event by its tenant, which no other event has."""
    written = {}
    for interface, of in write.items():
        for kind, data in KINDS.items():
            for more, attributes in MORE.items():
                tenant = f"{prefix}-{interface}-{kind}-{more}"
                known = {"type": "sleep.breaker.v1", "source": "urn:shop", "subject": tenant}
                written[tenant] = of(known | attributes, data)
    return written


def over_http(prefix: str) -> dict[str, Written]:
    """Return HTTP messages by their tenants."""

    def present(write: Callable[[CloudEvent], Any]) -> Callable[[dict[str, Any], Any], Written]:
        def of(attributes: dict[str, Any], data: Any) -> Written:  # noqa: ANN401 - the SDK's own
            message = write(CloudEvent(attributes, data))
            return Written(message.headers, message.body)

        return of

    def earlier(write: Callable[[EarlierEvent], Any]) -> Callable[[dict[str, Any], Any], Written]:
        def of(attributes: dict[str, Any], data: Any) -> Written:  # noqa: ANN401 - the SDK's own
            # This interface leaves headers as they are, and HTTP clients refuse what is beyond ASCII.
            ascii_only = {name: value.encode("ascii", "replace").decode() for name, value in attributes.items()}
            headers, body = write(EarlierEvent(ascii_only, data))
            return Written(headers, _bytes(body))

        return of

    return _events(
        prefix,
        {
            "binary": present(http.to_binary_event),
            "structured": present(http.to_structured_event),
            "earlier-binary": earlier(earlier_to_binary),
            "earlier-structured": earlier(earlier_to_structured),
        },
    )


def over_kafka(prefix: str) -> dict[str, Written]:
    """Return Kafka messages by their tenants; their keys are left to the sender."""

    def present(write: Callable[[CloudEvent], Any]) -> Callable[[dict[str, Any], Any], Written]:
        def of(attributes: dict[str, Any], data: Any) -> Written:  # noqa: ANN401 - the SDK's own
            message = write(CloudEvent(attributes, data))
            return Written(message.headers, message.value)

        return of

    def earlier(write: Callable[[EarlierEvent, Any], Any]) -> Callable[[dict[str, Any], Any], Written]:
        def of(attributes: dict[str, Any], data: Any) -> Written:  # noqa: ANN401 - the SDK's own
            # It looks the content type up without asking whether there is one, and makes JSON of all but bytes.
            event = EarlierEvent({"datacontenttype": "application/json"} | attributes, data)
            message = write(event, (lambda result: result) if isinstance(data, bytes) else None)
            return Written(message.headers, _bytes(message.value))

        return of

    return _events(
        prefix,
        {
            "binary": present(kafka.to_binary_event),
            "structured": present(kafka.to_structured_event),
            "earlier-binary": earlier(earlier_to_kafka_binary),
            "earlier-structured": earlier(earlier_to_kafka_structured),
        },
    )
