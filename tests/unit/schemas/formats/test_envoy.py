"""Envoy: lines of the outlier detection log."""

from typing import Any, Final

import pytest

from schemas.domain.values import time_ms
from tests.support.emitted import emitted, event_of, read_as, states_of, wrong_field

FORMAT: Final = "envoy"
EJECTED, OBSERVED, BROUGHT_BACK = (each.document for each in emitted(FORMAT))


def test_the_action_decides() -> None:
    """An ejection that is not enforced only observes."""
    assert states_of(FORMAT) == ["open", None, "closed"]
    assert read_as(FORMAT, OBSERVED).skipped == {"no_transition": 1}


def test_an_unejection_is_never_enforced_and_closes() -> None:
    """The flag has no meaning there, and may be absent; nor has its type."""
    assert BROUGHT_BACK["enforced"] is False
    assert BROUGHT_BACK["type"] == "CONSECUTIVE_5XX"
    event = event_of(FORMAT, BROUGHT_BACK)
    assert (event.data.state, event.data.cause) == ("closed", None)
    del (without := dict(BROUGHT_BACK))["enforced"]
    assert event_of(FORMAT, without).data.state == "closed"


def test_a_proxy_brings_back_only_what_it_ejected() -> None:
    """Each proxy ejects for itself, and the line does not name the proxy."""
    first = event_of(FORMAT, EJECTED, b"proxy-1").data
    second = event_of(FORMAT, BROUGHT_BACK, b"proxy-2").data
    assert (first.breaker, first.instance) == ("payments", "127.0.0.1:18401@proxy-1")
    assert (second.breaker, second.instance) == ("payments", "127.0.0.1:18401@proxy-2")


def test_a_line_without_its_proxy_is_refused() -> None:
    """Neither in the key, nor in the header that the setting names."""
    assert wrong_field(FORMAT, EJECTED, None) == "key"
    assert wrong_field(FORMAT, EJECTED, instance="header:proxy") == "header proxy"
    assert event_of(FORMAT, EJECTED, instance="header:tenant").data.instance == "127.0.0.1:18401@acme"


def test_an_ejection_has_its_time_and_its_type() -> None:
    """The type is for people."""
    data = event_of(FORMAT, EJECTED).data
    assert (data.occurred_at, data.cause) == (time_ms(EJECTED["timestamp"]), "CONSECUTIVE_5XX")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"action": "eject"}, "action"),
        ({"action": 0}, "action"),
        ({"enforced": "true"}, "enforced"),
        ({"enforced": None}, "enforced"),
        ({"cluster_name": ""}, "cluster_name"),
        ({"cluster_name": 7}, "cluster_name"),
        ({"upstream_url": ""}, "upstream_url"),
        ({"upstream_url": "a" * 200}, "key"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": {"seconds": 1}}, "timestamp"),
        ({"type": 0}, "type"),
    ],
)
def test_another_shape_is_refused_by_its_field(more: dict[str, Any], field: str) -> None:
    """Nothing is guessed."""
    assert wrong_field(FORMAT, EJECTED | more) == field


@pytest.mark.parametrize("name", ["action", "enforced", "cluster_name", "upstream_url", "timestamp"])
def test_a_default_that_a_serialiser_left_out_is_not_guessed(name: str) -> None:
    """Protobuf's JSON may leave out `EJECT` and `false`. Envoy writes them."""
    assert wrong_field(FORMAT, {key: value for key, value in EJECTED.items() if key != name}) == name
