"""Reads a message in any of the formats. Pure."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from pydantic import TypeAdapter, ValidationError

from schemas.domain.policy import field_errors
from schemas.formats import alertmanager, cloudevents, envoy, gobreaker, hystrix, opossum, resilience4j
from schemas.formats.parts import DOCUMENT, Found, wrong
from schemas.formats.places import Message, look_up, without_prefix
from schemas.formats.report import Content, Reading, Report, Skipped
from schemas.formats.settings import HttpFormat, TopicFormat
from schemas.wire.cloudevents import UndecodableError
from schemas.wire.events import BREAKER, BreakerEvent

_READERS: Final[dict[str, Callable[[bytes | None], Content]]] = {
    "resilience4j": resilience4j.read,
    "opossum": opossum.read,
    "gobreaker": gobreaker.read,
    "envoy": envoy.read,
    "hystrix": hystrix.read,
    "alertmanager": alertmanager.read,
}
_EVENT: Final = TypeAdapter(BreakerEvent)


def read(message: Message, settings: TopicFormat | HttpFormat) -> Reading:
    """Return the breaker events of a message: all of them, or an error.

    Args:
        message: the message.
        settings: its format, and where the tenant, the breaker and the instance are found.

    Raises:
        UndecodableError: if the message is not of the format. The text names format and field.
    """
    if settings.format == "cloudevents":
        return Reading(cloudevents.read(message.value, message.headers), {})
    try:
        content = _READERS[settings.format](message.value)
        skipped: Counter[Skipped] = Counter(content.skipped)
        events: list[BreakerEvent] = []
        for report in content.reports:
            event = _event(report, message, settings, len(events))
            if event is None:
                skipped["no_tenant"] += 1
            else:
                events.append(event)
    except UndecodableError as error:
        raise UndecodableError(error.code, f"{settings.format}: {error}", error.errors) from None
    return Reading(events, skipped)


def _event(report: Report, message: Message, settings: TopicFormat | HttpFormat, index: int) -> BreakerEvent | None:
    """Return a report as an event; None for an alert without a tenant."""
    breaker = report.breaker
    if settings.breaker is not None:
        breaker = _present(look_up(settings.breaker, message, report.part), "breaker's name")
        if settings.format == "gobreaker":
            breaker = without_prefix(breaker)
    tenant = look_up(settings.tenant, message, report.part, breaker)
    if not tenant.text and settings.format == "alertmanager":
        return None
    _present(tenant, "tenant")
    instance = None
    if settings.instance is not None:
        instance = _present(look_up(settings.instance, message, report.part), "instance")
        if report.instance is not None:
            instance = instance._replace(text=f"{report.instance.text}@{instance.text}")
    document = {
        "specversion": "1.0",
        "id": f"{message.id}:{index}",
        "source": message.source,
        "type": BREAKER,
        "subject": tenant.text,
        "data": {
            "breaker": "" if breaker is None else breaker.text,
            "instance": "" if instance is None else instance.text,
            "state": report.state,
            "occurred_at": report.occurred_at,
            "cause": report.cause,
            "library": settings.format,
        },
    }
    try:
        return _EVENT.validate_python(document)
    except ValidationError as error:
        found = {"subject": tenant, "data.breaker": breaker, "data.instance": instance}
        raise _renamed(error, found) from None


def _present(found: Found, purpose: str) -> Found:
    if not found.text:
        raise wrong(found.field, f"required as the {purpose}, but missing or empty")
    return found


def _renamed(error: ValidationError, found: dict[str, Found | None]) -> UndecodableError:
    """Return the first finding about an event, with the name that its field has in the document."""
    first = field_errors(error)[0]
    place = found.get(first.field)
    return wrong(DOCUMENT if place is None else place.field, first.reason)
