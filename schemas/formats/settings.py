"""The settings of a format: where tenant, breaker and instance are found, on a topic and over HTTP."""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from schemas.domain.document import Document
from schemas.formats.places import checked, kind_of

FormatName = Literal["cloudevents", "resilience4j", "opossum", "gobreaker", "envoy", "hystrix", "alertmanager"]
HttpFormatName = Literal["resilience4j", "opossum", "gobreaker", "envoy", "hystrix", "alertmanager"]
"""The formats of `POST /api/breakers/{format}`. CloudEvents have an endpoint of their own."""
HTTP_FORMATS: Final[tuple[HttpFormatName, ...]] = get_args(HttpFormatName)
LEVELS: Final = frozenset({"hystrix", "opossum", "gobreaker"})
"""The formats that report what a state is, again and again, rather than that it changed."""

Place = Annotated[str, Field(strict=True), AfterValidator(checked)]
"""Where a text is found; `schemas.formats.places` lists the kinds."""
_OF_NAME: Final = ("header", "field", "pattern")


class _Places(NamedTuple):
    """The kinds of places that a format may have, and the defaults; an empty default must be given.

    Attributes:
        tenant, breaker, instance: the kinds. Without any, the document says it, or there is none.
        defaults: the places of a format whose setting does not name them.
    """

    tenant: tuple[str, ...]
    breaker: tuple[str, ...]
    instance: tuple[str, ...]
    defaults: dict[str, str]


def _places(key: tuple[str, ...], name: str, instance: str, more: dict[str, str]) -> dict[str, _Places]:
    """Return the places of each format with a JSON document of its own.

    Args:
        key: the kind of place that only Kafka, or only HTTP, has.
        name: the default place of a breaker's name that no document has.
        instance: the default place of an instance.
        more: further defaults.
    """
    named = (*key, *_OF_NAME)
    of_message = (*(kind for kind in key if kind != "caller"), "header", "field")
    of_instance = _Places(named, (), of_message, {**more, "instance": instance})
    return {
        "resilience4j": of_instance,
        "opossum": of_instance,
        "hystrix": of_instance,
        "envoy": of_instance._replace(instance=of_message[:-1]),
        "gobreaker": _Places(named, of_message[:-1], (), {**more, "breaker": name}),
    }


_ALERTS: Final = _Places(
    ("label",), ("label",), ("label", "field"), {"breaker": "label:alertname", "instance": "field:fingerprint"}
)


class _Format(Document):
    format: FormatName
    tenant: Place
    breaker: Place | None = None
    instance: Place | None = None

    kinds: ClassVar[dict[str, _Places]] = {}

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:  # noqa: ANN401 - any JSON
        """Fill in the defaults of the format."""
        if not isinstance(given, dict):
            return given
        name = given.get("format", "cloudevents")
        places = cls.kinds.get(name) if isinstance(name, str) else None
        # For an unknown format the finding about the format is enough.
        return {**({"tenant": "key"} if places is None else places.defaults), **given}

    @model_validator(mode="after")
    def _suitable(self) -> Self:
        """Refuse a place that the format does not have."""
        places = self.kinds.get(self.format)
        if places is None:
            return self
        for name, place, kinds in (
            ("tenant", self.tenant, places.tenant),
            ("breaker", self.breaker, places.breaker),
            ("instance", self.instance, places.instance),
        ):
            if place is not None and kind_of(place) not in kinds:
                reason = f"must be a place of kind {' or '.join(kinds)}" if kinds else "may not be given"
                msg = f"{name} {reason} for {self.format}"
                raise ValueError(msg)
        if self.tenant == "key" and "key" in (self.breaker, self.instance):
            msg = "the key is the tenant already; name a header or a field for the breaker or the instance"
            raise ValueError(msg)
        return self


class TopicFormat(_Format):
    """The format of an ingress topic."""

    format: FormatName = "cloudevents"

    kinds: ClassVar[dict[str, _Places]] = {
        "cloudevents": _Places(("subject",), (), (), {"tenant": "subject"}),
        "alertmanager": _ALERTS,
        **_places(("key",), "key", "key", {}),
    }


class HttpFormat(_Format):
    """The format of requests to `POST /api/breakers/{format}`."""

    format: HttpFormatName

    kinds: ClassVar[dict[str, _Places]] = {
        "alertmanager": _ALERTS._replace(defaults={"tenant": "label:tenant", **_ALERTS.defaults}),
        **_places(("caller",), "header:X-Breaker-Name", "header:X-Breaker-Instance", {"tenant": "caller"}),
    }


def http_formats(given: Iterable[HttpFormat] = ()) -> dict[str, HttpFormat]:
    """Return the settings of all formats over HTTP by name: these, and the defaults of the others."""
    defaults: dict[str, HttpFormat] = {name: HttpFormat.model_validate({"format": name}) for name in HTTP_FORMATS}
    return {**defaults, **{settings.format: settings for settings in given}}
