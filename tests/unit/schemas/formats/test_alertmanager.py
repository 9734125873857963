"""Alertmanager: webhooks of version 4."""

from typing import Any, Final

import pytest

from tests.support.emitted import emitted, event_of, read_as, wrong_field

FORMAT: Final = "alertmanager"
FIRING, PARTLY, RESOLVED = (each.document for each in emitted(FORMAT))


def _alert(**more: object) -> Any:  # noqa: ANN401 - JSON
    """Return a webhook with one alert of `acme`."""
    return FIRING | {"alerts": [FIRING["alerts"][1] | more]}


def _labelled(**labels: object) -> Any:  # noqa: ANN401 - JSON
    return _alert(labels=FIRING["alerts"][1]["labels"] | labels)


def _states(webhook: object) -> list[tuple[str, str]]:
    return [(event.subject, event.data.state) for event in read_as(FORMAT, webhook).events]


def test_the_status_of_each_alert_counts_and_never_the_group_s() -> None:
    """The group fires as long as one of its alerts does."""
    assert PARTLY["status"] == "firing"
    assert _states(FIRING) == [("acme", "open"), ("globex", "open")]
    assert _states(PARTLY) == [("acme", "closed"), ("globex", "open")]
    assert _states(RESOLVED) == [("acme", "closed"), ("globex", "closed")]
    assert _states(FIRING | {"status": "resolved"}) == _states(FIRING)


def test_an_alert_without_a_tenant_is_counted_and_passed_over() -> None:
    """A refusal would lose the others. An empty label is an absent one."""
    assert read_as(FORMAT, FIRING).skipped == {"no_tenant": 1}
    reading = read_as(FORMAT, _labelled(tenant=""))
    assert (reading.events, reading.skipped) == ([], {"no_tenant": 1})


def test_breaker_and_instance_are_labels_or_the_name_and_the_fingerprint() -> None:
    """As the setting names them."""
    data = event_of(FORMAT, _alert()).data
    assert (data.breaker, data.instance) == ("PaymentsFailing", "09ae96a85e02c647")
    named = event_of(FORMAT, _alert(), breaker="label:pod", instance="label:tenant").data
    assert (named.breaker, named.instance) == ("pod-1", "acme")


def test_an_alert_has_no_time() -> None:
    """`startsAt` is the same in each repeat."""
    assert event_of(FORMAT, _alert()).data.occurred_at is None


def test_alerts_that_were_left_out_are_counted() -> None:
    """By `max_alerts` of the receiver. Early releases with version 4 do not say how many."""
    assert read_as(FORMAT, _alert() | {"truncatedAlerts": 3}).skipped == {"truncated": 3}
    early = _alert()
    del early["truncatedAlerts"]
    assert read_as(FORMAT, early).skipped == {}
    assert wrong_field(FORMAT, _alert() | {"truncatedAlerts": "3"}) == "truncatedAlerts"


@pytest.mark.parametrize(
    ("summary", "cause"),
    [
        ("payments fail", "payments fail"),
        ("two\nlines\tand\x00more", "two lines and more"),
        ("é" * 300, "é" * 256),
        (" ", None),
        (7, None),
    ],
)
def test_the_summary_is_the_cause_on_one_line(summary: object, cause: str | None) -> None:
    """It is for people, so nothing in it refuses an alert."""
    assert event_of(FORMAT, _alert(annotations={"summary": summary})).data.cause == cause


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        (_alert(status="pending"), "alerts[0].status"),
        (_alert(status=None), "alerts[0].status"),
        (_alert(labels=None), "alerts[0].labels"),
        (_labelled(tenant="a b"), "alerts[0].labels.tenant"),
        (_labelled(tenant=7), "alerts[0].labels.tenant"),
        (_labelled(other=7), "alerts[0].labels.other"),
        (_labelled(alertname=""), "alerts[0].labels.alertname"),
        (_labelled(alertname="a@b"), "alerts[0].labels.alertname"),
        (_alert(fingerprint=""), "alerts[0].fingerprint"),
        (_alert() | {"alerts": None}, "alerts"),
        (_alert() | {"alerts": ["x"]}, "alerts[0]"),
        (_alert() | {"version": "5"}, "version"),
        (_alert() | {"version": 4}, "version"),
    ],
)
def test_another_shape_is_refused_by_its_field(webhook: object, field: str) -> None:
    """Nothing is guessed."""
    assert wrong_field(FORMAT, webhook) == field
