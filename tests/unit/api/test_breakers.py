"""`POST /api/breakers/events`: CloudEvents in their three forms, and what is refused."""

import asyncio
import json
from typing import Any, Final

import httpx
import pytest

from api.operate.dependency import UnavailableError
from api.publish import cloudevents
from api.publish.log import OutcomeUnknownError
from schemas.cloudevents import MAX_BYTES
from schemas.events import BreakerEvent
from tests.unit.api.conftest import World
from tests.unit.api.fakes import token

URL: Final = "/api/breakers/events"
DATA: Final = {"breaker": "payments", "instance": "pod-1", "state": "open", "occurred_at": 1_795_334_837_000}
EVENT: Final = {
    "specversion": "1.0",
    "id": "7f0c",
    "source": "urn:shop:pod-1",
    "type": "sleep.breaker.v1",
    "subject": "acme",
    "time": "2026-11-22T08:07:17Z",
    "data": DATA,
}
STRUCTURED: Final = "application/cloudevents+json; charset=UTF-8"
BATCH: Final = "application/cloudevents-batch+json"


async def send(world: World, content: object, media_type: str = STRUCTURED, **headers: str) -> httpx.Response:
    """Post a document as it is."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await world.client.post(URL, content=body, headers={"Content-Type": media_type, **headers})


def published(world: World) -> list[BreakerEvent]:
    """What the worker would read."""
    events = world.log.events
    assert all(isinstance(event, BreakerEvent) for event in events)
    return [event for event in events if isinstance(event, BreakerEvent)]


async def test_a_structured_event_is_published_as_it_came(world: World) -> None:
    """With its id, source and time, under its tenant."""
    response = await send(world, EVENT)
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    [event] = published(world)
    assert event.model_dump(exclude_none=True) == EVENT
    assert world.log.published[0][1] == b"acme"


async def test_a_binary_event_has_its_attributes_in_headers(world: World) -> None:
    """Percent-encoded, as the binding wants it."""
    headers = {f"ce-{name}": str(EVENT[name]) for name in ("specversion", "id", "type", "subject", "time")}
    response = await send(world, DATA, "application/json", **headers, **{"ce-source": "urn:caf%C3%A9%20one"})
    assert response.status_code == 202
    [event] = published(world)
    assert (event.source, event.subject, event.data.state) == ("urn:café one", "acme", "open")


@pytest.mark.parametrize(
    ("header", "source"),
    [
        ('"Euro%20%E2%82%AC"', "Euro €"),
        (r'"a\"b\\c"', 'a"b\\c'),
        ("a%2525b", "a%25b"),
        ('"half', '"half'),
        ("%GG", "%GG"),
    ],
)
async def test_an_attribute_is_taken_out_of_its_header_as_the_binding_says(
    world: World, header: str, source: str
) -> None:
    """Quotes and backslashes first, then percent-decoded, once."""
    headers = {f"ce-{name}": str(EVENT[name]) for name in ("specversion", "id", "type", "subject")}
    assert (await send(world, DATA, "application/json", **headers, **{"ce-source": header})).status_code == 202
    assert published(world)[0].source == source


async def test_an_attribute_that_is_no_text_or_there_twice_is_refused(world: World) -> None:
    """Nobody can say which subject a proxy in between has looked at."""
    headers = [(f"ce-{name}", str(EVENT[name])) for name in ("specversion", "id", "type", "subject")]
    body, media_type = json.dumps(DATA), ("Content-Type", "application/json")
    broken = await world.client.post(URL, content=body, headers=[*headers, media_type, ("ce-source", "%ff")])
    assert (broken.status_code, broken.json()["errors"][0]["field"]) == (422, "ce-source")
    twice = [*headers, media_type, ("ce-source", "s"), ("CE-Subject", "globex")]
    assert (await world.client.post(URL, content=body, headers=twice)).status_code == 400
    assert world.log.published == []


async def test_a_batch_keeps_its_order(world: World) -> None:
    """Within each tenant."""
    events = [EVENT | {"id": str(number)} for number in range(5)]
    response = await send(world, events, BATCH)
    assert response.json() == {"accepted": 5}
    assert [event.id for event in published(world)] == ["0", "1", "2", "3", "4"]


async def test_an_empty_batch_is_a_batch(world: World) -> None:
    """The format allows it; whoever may not emit may not send it either."""
    assert (await send(world, [], BATCH)).json() == {"accepted": 0}
    assert [(question.action, question.tenant) for question in world.authoriser.questions] == [("emit", "acme")]
    world.authoriser.decision = world.authoriser.decision._replace(allow=False, reasons=("no",))
    assert (await send(world, [], BATCH)).status_code == 403


async def test_a_structured_event_may_come_as_plain_json(world: World) -> None:
    """Without headers of an event, the document must hold its attributes itself."""
    assert (await send(world, EVENT, "application/json")).status_code == 202


async def test_every_tenant_of_a_batch_is_asked_for(world: World) -> None:
    """With the number of its events, which is what it costs."""
    await send(world, [EVENT, EVENT | {"subject": "globex"}, EVENT], BATCH)
    assert [(question.action, question.tenant) for question in world.authoriser.questions] == [
        ("emit", "acme"),
        ("emit", "globex"),
    ]
    assert {payer.name: cost for (payer, _), cost in world.limiter.spent.items()} == {"acme": 2, "globex": 1}


async def test_a_batch_of_many_tenants_lets_others_take_turns(world: World) -> None:
    """Each decision of the embedded policy takes some milliseconds, and none of them waits for anything."""
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(len(world.authoriser.questions))
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    response = await send(world, [EVENT | {"subject": f"t{number}"} for number in range(20)], BATCH)
    waiting.cancel()
    assert response.status_code == 202
    assert set(range(1, 20)) <= set(turns)


async def test_without_consent_nothing_of_a_batch_is_published(world: World) -> None:
    """Whole, or not at all."""
    world.authoriser.decision = world.authoriser.decision._replace(allow=False, reasons=("no",))
    assert (await send(world, [EVENT, EVENT], BATCH)).status_code == 403
    assert world.log.published == []


async def test_a_token_without_a_tenant_may_emit_for_any(world: World) -> None:
    """The tenant is the event's subject; X-Tenant-Id has no say."""
    bearer = {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:emit-any')}"}
    response = await send(world, EVENT, **bearer, **{"X-Tenant-Id": "!"})
    assert response.status_code == 202
    assert (world.authoriser.questions[0].tenant, world.authoriser.questions[0].token_tenant) == ("acme", None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": "sleep.mode.v1"}, "type"),
        ({"type": "sleep.timer.v1"}, "type"),
        ({"subject": "a/b"}, "subject"),
        ({"subject": None}, "subject"),
        ({"specversion": "0.3"}, "specversion"),
        ({"id": ""}, "id"),
        ({"time": "yesterday"}, "time"),
        ({"data": None}, "data"),
        ({"data": DATA | {"state": "ajar"}}, "data.state"),
        ({"data": DATA | {"breaker": "a@b"}}, "data.breaker"),
        ({"data": DATA | {"occurred_at": 1.5}}, "data.occurred_at"),
    ],
)
async def test_a_wrong_event_names_its_field_and_publishes_nothing(
    world: World, change: dict[str, Any], field: str
) -> None:
    """Alone, and in a batch behind its index."""
    wrong = EVENT | change
    alone = await send(world, wrong)
    assert (alone.status_code, [error["field"] for error in alone.json()["errors"]]) == (422, [field])
    batch = await send(world, [EVENT, wrong], BATCH)
    assert [error["field"] for error in batch.json()["errors"]] == [f"[1].{field}"]
    assert world.log.published == []


async def test_a_batch_of_rubbish_is_told_of_in_part(world: World) -> None:
    """The problem does not grow with what was sent."""
    response = await send(world, [1] * 10_000, BATCH)
    assert (response.status_code, len(response.json()["errors"])) == (422, 20)


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        (b"{", STRUCTURED, 400, "malformed_request"),
        (b"\xff", STRUCTURED, 400, "malformed_request"),
        (EVENT, "text/plain", 415, "unsupported_media_type"),
        (EVENT, "", 415, "unsupported_media_type"),
        (EVENT, BATCH, 422, "invalid_request"),
        ([EVENT], STRUCTURED, 422, "invalid_request"),
        (b" " * (MAX_BYTES + 1), STRUCTURED, 413, "body_too_large"),
    ],
)
async def test_what_is_no_event_is_refused(
    world: World, content: object, media_type: str, status: int, code: str
) -> None:
    """By form, before anything is asked or published."""
    response = await send(world, content, media_type)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert (world.log.published, world.authoriser.questions) == ([], [])


async def test_kafka_away_is_503_and_nothing_is_published(world: World) -> None:
    """To be sent again."""
    world.log.failure = UnavailableError("kafka", "away")
    response = await send(world, EVENT)
    assert (response.status_code, response.json()["code"]) == (503, "kafka_unavailable")


async def test_a_lost_ack_says_that_sending_again_is_safe(world: World) -> None:
    """An event that is there already is stale, or a renewal."""
    world.log.failure = OutcomeUnknownError("no ack")
    response = await send(world, EVENT)
    assert (response.status_code, response.json()["code"]) == (503, "outcome_unknown")
    assert "again" in response.json()["detail"]


async def test_a_batch_of_rubbish_is_not_looked_at_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a few callers without any scope could keep the process from everyone."""
    looked_at: list[object] = []
    judged = cloudevents._validate  # noqa: SLF001 - what costs

    def look(document: object) -> Any:  # noqa: ANN401 - as the real one
        looked_at.append(document)
        return judged(document)

    monkeypatch.setattr(cloudevents, "_validate", look)
    assert (await send(world, [{}] * 10_000, BATCH)).status_code == 422
    assert len(looked_at) <= 20


async def test_a_batch_that_one_tenant_forbids_costs_no_other_tenant(world: World) -> None:
    """Policy is asked for all before anything is charged."""
    answers = iter([world.authoriser.decision, world.authoriser.decision._replace(allow=False)])
    world.authoriser.decisions = answers
    assert (await send(world, [EVENT, EVENT | {"subject": "globex"}], BATCH)).status_code == 403
    assert world.limiter.spent == {}
