"""A batch fits into the bounds of the server."""

import pytest
from pydantic_core import from_json

from api.commands.cloudevents import BATCH, read_breaker_events
from schemas.wire.cloudevents import MAX_BYTES
from sleep_client.emission.events import CONTENT_TYPE, Event, encode
from sleep_client.emission.outbox import MOST_EVENTS
from sleep_client.emission.report import Report, read

SOURCE = f"urn:sleep-client:{'i' * 200}"


def _event(number: int, report: Report) -> Event:
    return Event(f"0123abcd-{number}", 1_795_334_400_000 + number, report)


@pytest.mark.parametrize(
    "report",
    [
        read("t" * 128, "\U0001f4a5" * 200, "open", '"' * 200, "\U0001f4a5" * 256, 0.0),
        read("acme", "payments", "open", "", None, 0.0),
    ],
    ids=["large", "small"],
)
def test_events_that_do_not_fit_into_a_body_stay_for_the_next_one(report: Report) -> None:
    """Those at the end; one more would not have fitted."""
    events = [_event(number, report) for number in range(MOST_EVENTS)]
    body, count = encode(events, SOURCE)
    assert 15 < count < MOST_EVENTS
    assert len(body) <= MAX_BYTES < len(body) + len(encode(events[count : count + 1], SOURCE)[0])
    assert [each["id"] for each in from_json(body)] == [event.id for event in events[:count]]


def test_the_largest_number_of_events_is_within_the_bounds_of_the_api() -> None:
    """Bytes, names, brackets and commas; with short names as many as a batch has."""
    events = [_event(number, read("t", "b", "half_open", "i", "c", 0.0)) for number in range(MOST_EVENTS)]
    body, count = encode(events, "urn:sleep-client:i")
    assert count == MOST_EVENTS
    assert CONTENT_TYPE == BATCH
    decoded = read_breaker_events(BATCH, [("content-type", BATCH)], body)
    assert [event.id for event in decoded] == [event.id for event in events]
    assert decoded[0].data.occurred_at == 1_795_334_400_000


def test_a_single_event_is_sent_whatever_its_size() -> None:
    """So a batch is never empty because of a long name."""
    report = read("acme", "b", "open", "", "c" * 256, 0.0)
    assert encode([_event(1, report)], "s" * 70_000)[1] == 1


def test_an_unknown_time_and_an_absent_cause_are_left_out() -> None:
    """Then the order of arrival counts."""
    body, _ = encode([Event("id-1", None, read("acme", "b", "open", "", None, 0.0))], SOURCE)
    (event,) = from_json(body)
    assert event["data"].keys() == {"breaker", "instance", "state", "library"}
