"""Where tenant, breaker and instance are found."""

import time
from typing import Any, Final

import pytest
from pydantic import ValidationError

from schemas.formats.places import Message, compiled
from schemas.formats.read import read
from schemas.formats.settings import HTTP_FORMATS, HttpFormat, TopicFormat, http_formats
from schemas.wire.cloudevents import UndecodableError
from tests.support.emitted import emitted, event_of, refused, topic_format, wrong_field

FORMAT: Final = "resilience4j"
EVENT: Final[dict[str, Any]] = {
    "circuitBreakerName": "acme.payments.eu",
    "type": "STATE_TRANSITION",
    "creationTime": "2026-11-30T07:35:32Z",
    "stateTransition": "CLOSED_TO_OPEN",
    "tags": {"customer": "globex"},
}


def _tenant(place: str, key: bytes | None = b"initech", **more: object) -> str:
    return event_of(FORMAT, EVENT | more, key, tenant=place, instance="header:tenant").subject


def test_a_tenant_is_in_the_key_a_header_a_field_or_the_breaker_s_name() -> None:
    """As the setting says."""
    assert _tenant("key") == "initech"
    assert _tenant("header:Tenant") == "acme"
    assert _tenant("field:tags.customer") == "globex"
    assert _tenant("pattern:{tenant}.{service}") == "acme"


@pytest.mark.parametrize(
    ("place", "key", "field"),
    [
        ("key", None, "key"),
        ("key", b"", "key"),
        ("key", b"a b", "key"),
        ("key", b"\xff", "key"),
        ("header:other", b"k", "header other"),
        ("field:tags.tenant", b"k", "tags.tenant"),
        ("field:tags", b"k", "tags"),
        ("field:type.tenant", b"k", "type.tenant"),
        ("pattern:{tenant}-{service}", b"k", "circuitBreakerName"),
    ],
)
def test_a_tenant_that_is_not_there_is_refused_by_its_place(place: str, key: bytes | None, field: str) -> None:
    """Nothing stands in for it."""
    assert wrong_field(FORMAT, EVENT, key, tenant=place, instance="header:tenant") == field


def test_a_header_that_is_there_twice_is_refused() -> None:
    """Nobody can say which of the two a proxy in between has looked at."""
    message = Message(emitted("envoy")[0].value, [("tenant", b"acme"), ("Tenant", b"globex")], b"pod-1")
    with pytest.raises(UndecodableError, match="header tenant: must be there once"):
        read(message, topic_format("envoy"))


@pytest.mark.parametrize(
    ("pattern", "name", "tenant"),
    [
        ("{tenant}", "acme", "acme"),
        ("{tenant}.{service}", "acme.payments.eu", "acme"),
        ("{service}.{tenant}", "payments.acme.eu", "acme.eu"),
        ("svc-{service}/{tenant}", "svc-pay-1/acme", "acme"),
        ("{tenant}--{service}", "acme--payments", "acme"),
        ("{tenant}--{service}", "a-b--payments", None),
        ("{tenant}.*", "acme.*", "acme"),
        ("{tenant}.*", "acme.x", None),
        ("{service}.{tenant}", "payments", None),
        ("{service}.{tenant}", ".acme", None),
        ("x{tenant}", "x", None),
        ("{tenant}.{rest}", "acme.a\nb", "acme"),
    ],
)
def test_a_name_in_braces_ends_before_the_character_that_follows(pattern: str, name: str, tenant: str | None) -> None:
    """So there is one way to match at most. Nothing else in a pattern is special."""
    match = compiled(pattern).fullmatch(name)
    assert (match and match["tenant"]) == tenant


def test_a_pattern_takes_time_linear_in_the_name() -> None:
    """The worst pattern that fits a setting, on a name of 60 kB that almost matches."""
    pattern = compiled("a".join(["{tenant}", *["{x}"] * 20]) + "!")
    began = time.process_time()
    assert pattern.fullmatch("ba" * 30_000) is None
    assert pattern.fullmatch("ba" * 20 + "b!") is not None
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    "place",
    [
        "",
        "tenant",
        "key:x",
        "header",
        "header:",
        "header:a b",
        "field:a..b",
        "label:a-b",
        "pattern:",
        "pattern:acme",
        "pattern:{tenant}{x}",
        "pattern:{tenant}.{tenant}",
        "pattern:{tenant}.{X}",
        "pattern:{tenant}}",
        "pattern:({tenant}",
        "pattern:{tenant}" + "." * 200,
    ],
)
def test_a_place_that_is_none_is_refused_by_the_setting(place: str) -> None:
    """At the start, not at the first record."""
    if place == "pattern:({tenant}":
        assert topic_format(FORMAT, tenant=place).tenant == place, "a parenthesis is a character"
        return
    with pytest.raises(ValidationError):
        topic_format(FORMAT, tenant=place)


@pytest.mark.parametrize(
    "setting",
    [
        {"format": "resilience4j"},
        {"format": "resilience4j", "tenant": "subject"},
        {"format": "resilience4j", "tenant": "label:tenant"},
        {"format": "resilience4j", "tenant": "caller"},
        {"format": "resilience4j", "tenant": "key"},
        {"format": "resilience4j", "tenant": "header:t", "breaker": "key"},
        {"format": "resilience4j", "tenant": "header:t", "instance": "pattern:{tenant}"},
        {"format": "cloudevents", "tenant": "key"},
        {"format": "cloudevents", "instance": "key"},
        {"format": "gobreaker", "tenant": "key"},
        {"format": "gobreaker", "tenant": "header:t", "instance": "key"},
        {"format": "envoy", "tenant": "header:t", "instance": "field:proxy"},
        {"format": "alertmanager", "tenant": "key"},
        {"format": "alertmanager", "tenant": "label:t", "breaker": "field:alertname"},
    ],
)
def test_a_place_that_a_format_does_not_have_is_refused(setting: dict[str, str]) -> None:
    """The key cannot be the tenant and something else as well."""
    with pytest.raises(ValidationError):
        TopicFormat.model_validate(setting)


def test_what_a_setting_leaves_out_has_a_default_and_the_tenant_has_none() -> None:
    """But the subject of CloudEvents."""
    assert TopicFormat.model_validate({}).tenant == "subject"
    assert (topic_format("envoy").breaker, topic_format("envoy").instance) == (None, "key")
    assert (topic_format("gobreaker").breaker, topic_format("gobreaker").instance) == ("key", None)
    assert topic_format("alertmanager").instance == "field:fingerprint"


def test_over_http_every_format_has_defaults() -> None:
    """A request has no key; the tenant is the caller's."""
    formats = http_formats([HttpFormat(format="envoy", tenant="header:T", instance="header:P")])
    assert tuple(formats) == HTTP_FORMATS
    assert formats["envoy"].tenant == "header:T"
    assert (formats["hystrix"].tenant, formats["hystrix"].instance) == ("caller", "header:X-Breaker-Instance")
    assert formats["gobreaker"].breaker == "header:X-Breaker-Name"
    assert formats["alertmanager"].tenant == "label:tenant"
    with pytest.raises(ValidationError):
        HttpFormat(format="envoy", tenant="key")


def test_bytes_that_are_no_document_are_refused_under_their_own_codes() -> None:
    """As those of CloudEvents are."""
    assert refused(FORMAT, b"").code == "undecodable"
    assert refused(FORMAT, b"\xff\xfe").code == "undecodable"
    assert refused(FORMAT, b"[" * 5_000).code == "undecodable"
    assert refused(FORMAT, b" " * 65_537).code == "oversize"
    assert refused(FORMAT, b"NaN").code == "undecodable"
    assert wrong_field(FORMAT, b"1") == "(document)"
