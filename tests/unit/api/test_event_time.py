"""A breaker event over HTTP did not occur before 1970; the log takes it all the same."""

import json
from typing import Any, Final

import pytest

from schemas.wire.cloudevents import STRUCTURED_HEADERS, decode
from schemas.wire.events import BreakerEvent
from tests.unit.api.application import ApiOverFakes

URL: Final = "/api/breakers/events"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
DATA: Final = {"breaker": "payments", "state": "open"}
EVENT: Final = {"specversion": "1.0", "id": "1", "source": "u", "type": "sleep.breaker.v1", "subject": "acme"}
EARLY: Final[list[tuple[dict[str, Any], str]]] = [
    ({"data": DATA | {"occurred_at": -1}}, "data.occurred_at"),
    ({"data": DATA | {"occurred_at": -(10**300)}}, "data.occurred_at"),
    ({"data": DATA | {"occurred_at": -1.0}, "time": "2026-11-22T08:07:17Z"}, "data.occurred_at"),
    ({"data": DATA, "time": "0001-01-01T00:00:00Z"}, "time"),
    ({"data": DATA | {"occurred_at": 1}, "time": "1969-12-31T23:59:59.999Z"}, "time"),
]


async def _send(api: ApiOverFakes, content: object, media_type: str) -> Any:  # noqa: ANN401 - an answer's JSON
    return await api.client.post(URL, content=json.dumps(content), headers={"Content-Type": media_type})


@pytest.mark.parametrize(("change", "field"), EARLY)
async def test_an_event_from_before_1970_is_refused(api: ApiOverFakes, change: dict[str, Any], field: str) -> None:
    """Alone, and in a batch with its index; nothing of the batch is published."""
    answer = await _send(api, EVENT | change, STRUCTURED)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [found["field"] for found in answer.json()["errors"]] == [field]
    answer = await _send(api, [EVENT | {"data": DATA}, EVENT | change], BATCH)
    assert answer.status_code == 422
    assert [found["field"] for found in answer.json()["errors"]] == [f"[1].{field}"]
    assert api.log.published == []


async def test_in_binary_mode_too(api: ApiOverFakes) -> None:
    """The time is in a header then."""
    headers = {f"ce-{name}": value for name, value in EVENT.items()} | {"ce-time": "1900-01-01T00:00:00Z"}
    answer = await api.client.post(URL, json=DATA, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "time")


async def test_a_batch_of_early_events_is_told_of_in_part(api: ApiOverFakes) -> None:
    """Nobody reads more."""
    answer = await _send(api, [EVENT | {"data": DATA | {"occurred_at": -1}}] * 100, BATCH)
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 20)


@pytest.mark.parametrize("occurred_at", [0, 1, 1_000_000_000_000, None])
async def test_any_later_time_is_taken(api: ApiOverFakes, occurred_at: int | None) -> None:
    """An emitter that was offline for long is heard."""
    answer = await _send(api, EVENT | {"data": DATA | {"occurred_at": occurred_at}}, STRUCTURED)
    assert answer.status_code == 202


@pytest.mark.parametrize(("change", "_field"), EARLY)
def test_the_log_takes_what_the_door_refuses(change: dict[str, Any], _field: str) -> None:
    """Its decoder never becomes stricter: old logs would fold differently."""
    assert isinstance(decode(b"acme", json.dumps(EVENT | change).encode(), STRUCTURED_HEADERS), BreakerEvent)
