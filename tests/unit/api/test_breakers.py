"""`POST /api/breakers/events`: CloudEvents in their three forms, and what is refused."""

import asyncio
import json
from typing import Any, Final

import httpx
import pytest
import structlog

from api.adapters.dependency import UnavailableError
from api.adapters.kafka_events import OutcomeUnknownError
from api.commands import cloudevents
from schemas.wire.cloudevents import MAX_BYTES, validate
from schemas.wire.events import BreakerEvent
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.breaker_event import DATA, EVENT

URL: Final = "/api/breakers/events"
STRUCTURED: Final = "application/cloudevents+json; charset=UTF-8"
BATCH: Final = "application/cloudevents-batch+json"


async def send(api: ApiOverFakes, content: object, media_type: str = STRUCTURED, **headers: str) -> httpx.Response:
    """Post a document as it is."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await api.client.post(URL, content=body, headers={"Content-Type": media_type, **headers})


def published(api: ApiOverFakes) -> list[BreakerEvent]:
    """What the worker would read."""
    events = api.log.events
    assert all(isinstance(event, BreakerEvent) for event in events)
    return [event for event in events if isinstance(event, BreakerEvent)]


async def test_a_structured_event_is_published_as_it_came(api: ApiOverFakes) -> None:
    """With its id, source and time, under its tenant."""
    response = await send(api, EVENT)
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    [event] = published(api)
    assert event.model_dump(exclude_none=True) == EVENT
    assert api.log.published[0][1] == b"acme"


async def test_a_binary_event_has_its_attributes_in_headers(api: ApiOverFakes) -> None:
    """Percent-encoded, as the binding wants it."""
    headers = {f"ce-{name}": str(EVENT[name]) for name in ("specversion", "id", "type", "subject", "time")}
    response = await send(api, DATA, "application/json", **headers, **{"ce-source": "urn:caf%C3%A9%20one"})
    assert response.status_code == 202
    [event] = published(api)
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
    api: ApiOverFakes, header: str, source: str
) -> None:
    """Quotes and backslashes first, then percent-decoded, once."""
    headers = {f"ce-{name}": str(EVENT[name]) for name in ("specversion", "id", "type", "subject")}
    assert (await send(api, DATA, "application/json", **headers, **{"ce-source": header})).status_code == 202
    assert published(api)[0].source == source


async def test_an_attribute_that_is_no_text_or_there_twice_is_refused(api: ApiOverFakes) -> None:
    """Nobody can say which subject a proxy in between has looked at."""
    headers = [(f"ce-{name}", str(EVENT[name])) for name in ("specversion", "id", "type", "subject")]
    body, media_type = json.dumps(DATA), ("Content-Type", "application/json")
    broken = await api.client.post(URL, content=body, headers=[*headers, media_type, ("ce-source", "%ff")])
    assert (broken.status_code, broken.json()["errors"][0]["field"]) == (422, "ce-source")
    twice = [*headers, media_type, ("ce-source", "s"), ("CE-Subject", "globex")]
    assert (await api.client.post(URL, content=body, headers=twice)).status_code == 400
    assert api.log.published == []


async def test_a_binary_event_needs_no_content_type(api: ApiOverFakes) -> None:
    """The Python SDK sends none for an event that names none; nor must bytes beyond ASCII be percent-encoded."""
    headers = [(f"ce-{name}".encode(), str(EVENT[name]).encode()) for name in ("specversion", "id", "type", "subject")]
    for source in ("urn:café €".encode(), "urn:café".encode("latin-1")):
        response = await api.client.post(URL, content=json.dumps(DATA), headers=[*headers, (b"ce-source", source)])
        assert response.status_code == 202, response.text
    assert [event.source for event in published(api)] == ["urn:café €", "urn:café"]


@pytest.mark.parametrize("state", ["half_open", "half-open", "HALF_OPEN", "halfOpen", "Half Open", "HalfOpen"])
async def test_a_state_in_any_spelling_goes_into_the_log_in_ours(api: ApiOverFakes, state: str) -> None:
    """Whatever reads the log, of whatever version, finds one spelling."""
    assert (await send(api, EVENT | {"data": DATA | {"state": state}})).status_code == 202
    assert b'"half_open"' in api.log.published[0][2]


async def test_a_batch_keeps_its_order(api: ApiOverFakes) -> None:
    """Within each tenant."""
    events = [EVENT | {"id": str(number)} for number in range(5)]
    response = await send(api, events, BATCH)
    assert response.json() == {"accepted": 5}
    assert [event.id for event in published(api)] == ["0", "1", "2", "3", "4"]


async def test_an_empty_batch_is_a_batch(api: ApiOverFakes) -> None:
    """The format allows it. A caller that may not emit may not send it either."""
    assert (await send(api, [], BATCH)).json() == {"accepted": 0}
    assert [(question.action, question.tenant) for question in api.authoriser.questions] == [("emit", "acme")]
    api.authoriser.decision = api.authoriser.decision._replace(allow=False, reasons=("no",))
    assert (await send(api, [], BATCH)).status_code == 403


async def test_a_structured_event_may_come_as_plain_json(api: ApiOverFakes) -> None:
    """Without headers of an event, the document must hold its attributes itself."""
    assert (await send(api, EVENT, "application/json")).status_code == 202


async def test_every_tenant_of_a_batch_is_asked_for(api: ApiOverFakes) -> None:
    """With the number of its events, which is what it costs."""
    await send(api, [EVENT, EVENT | {"subject": "globex"}, EVENT], BATCH)
    assert [(question.action, question.tenant) for question in api.authoriser.questions] == [
        ("emit", "acme"),
        ("emit", "globex"),
    ]
    assert {payer.name: cost for (payer, _), cost in api.limiter.spent.items()} == {"acme": 2, "globex": 1}


async def test_a_batch_of_many_tenants_lets_others_take_turns(api: ApiOverFakes) -> None:
    """Each decision of the embedded policy takes some milliseconds, and none of them waits for anything."""
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(len(api.authoriser.questions))
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    response = await send(api, [EVENT | {"subject": f"t{number}"} for number in range(20)], BATCH)
    waiting.cancel()
    assert response.status_code == 202
    assert set(range(1, 20)) <= set(turns)


async def test_without_consent_nothing_of_a_batch_is_published(api: ApiOverFakes) -> None:
    """Whole, or not at all."""
    api.authoriser.decision = api.authoriser.decision._replace(allow=False, reasons=("no",))
    assert (await send(api, [EVENT, EVENT], BATCH)).status_code == 403
    assert api.log.published == []


async def test_a_token_without_a_tenant_may_emit_for_any(api: ApiOverFakes) -> None:
    """The tenant is the event's subject; X-Tenant-Id has no say."""
    bearer = {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:emit-any')}"}
    response = await send(api, EVENT, **bearer, **{"X-Tenant-Id": "!"})
    assert response.status_code == 202
    assert (api.authoriser.questions[0].tenant, api.authoriser.questions[0].token_tenant) == ("acme", None)


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
    api: ApiOverFakes, change: dict[str, Any], field: str
) -> None:
    """Alone, and in a batch behind its index."""
    wrong = EVENT | change
    alone = await send(api, wrong)
    assert (alone.status_code, [error["field"] for error in alone.json()["errors"]]) == (422, [field])
    batch = await send(api, [EVENT, wrong], BATCH)
    assert [error["field"] for error in batch.json()["errors"]] == [f"[1].{field}"]
    assert api.log.published == []


async def test_a_batch_of_rubbish_is_told_of_in_part(api: ApiOverFakes) -> None:
    """The problem does not grow with what was sent."""
    response = await send(api, [1] * 8_000, BATCH)
    assert (response.status_code, len(response.json()["errors"])) == (422, 20)


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        (b"{", STRUCTURED, 400, "malformed_request"),
        (b"\xff", STRUCTURED, 400, "malformed_request"),
        (b"<open/>", "text/plain", 415, "unsupported_media_type"),
        (b"breaker=payments", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"<open/>", "", 400, "malformed_request"),
        (EVENT, BATCH, 422, "invalid_request"),
        ([EVENT], STRUCTURED, 422, "invalid_request"),
        (b" " * (MAX_BYTES + 1), STRUCTURED, 413, "body_too_large"),
    ],
)
async def test_what_is_no_event_is_refused(
    api: ApiOverFakes, content: object, media_type: str, status: int, code: str
) -> None:
    """By form, before anything is asked or published."""
    response = await send(api, content, media_type)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "the value" not in response.json()["detail"]
    assert (api.log.published, api.authoriser.questions) == ([], [])


async def test_kafka_away_is_503_and_nothing_is_published(api: ApiOverFakes) -> None:
    """To be sent again."""
    api.log.failure = UnavailableError("kafka", "away")
    response = await send(api, EVENT)
    assert (response.status_code, response.json()["code"]) == (503, "kafka_unavailable")


async def test_a_lost_ack_says_that_sending_again_is_safe(api: ApiOverFakes) -> None:
    """An event that is there already is stale, or a renewal."""
    api.log.failure = OutcomeUnknownError("no ack")
    response = await send(api, EVENT)
    assert (response.status_code, response.json()["code"]) == (503, "outcome_unknown")
    assert "again" in response.json()["detail"]


async def test_a_batch_of_rubbish_is_not_looked_at_to_its_end(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a few callers without any scope could keep the process from everyone."""
    looked_at: list[object] = []
    judged = validate

    def look(document: object, events: Any, model: object) -> Any:  # noqa: ANN401 - as the real one
        looked_at.append(document)
        return judged(document, events, model)

    monkeypatch.setattr(cloudevents, "validate", look)
    assert (await send(api, [{}] * 2_000, BATCH)).status_code == 422
    assert 0 < len(looked_at) <= 20


async def test_a_batch_that_one_tenant_forbids_costs_no_other_tenant(api: ApiOverFakes) -> None:
    """Policy is asked for all before anything is charged."""
    answers = iter([api.authoriser.decision, api.authoriser.decision._replace(allow=False)])
    api.authoriser.decisions = answers
    assert (await send(api, [EVENT, EVENT | {"subject": "globex"}], BATCH)).status_code == 403
    assert {payer.kind for payer, _ in api.limiter.spent} == {"subject"}, "the refusal, which is the sender's"


async def test_a_batch_that_one_tenants_limit_refuses_costs_no_tenant(api: ApiOverFakes) -> None:
    """It was refused as a whole: what the tenants before had paid is given back, and the problem names the tenant."""
    api.limiter.amount = 2
    events = [EVENT, *[EVENT | {"subject": "globex"}] * 3]
    response = await send(api, events, BATCH)
    assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded")
    assert "tenant globex" in response.json()["detail"]
    assert (sum(api.limiter.spent.values()), api.log.published) == (0, [])
    assert (await send(api, [EVENT, EVENT], BATCH)).status_code == 202


async def test_a_batch_that_is_not_published_costs_nothing(api: ApiOverFakes) -> None:
    """Its emitter sends it again; where nobody can tell, it is paid for."""
    api.log.failure = UnavailableError("kafka", "away")
    assert (await send(api, [EVENT, EVENT | {"subject": "globex"}], BATCH)).status_code == 503
    assert sum(api.limiter.spent.values()) == 0
    api.log.failure = OutcomeUnknownError("no ack")
    assert (await send(api, [EVENT, EVENT], BATCH)).status_code == 503
    assert sum(api.limiter.spent.values()) == 2


async def test_a_cost_that_cannot_be_given_back_is_told(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is answered what happened to the batch."""

    async def away(*_: object) -> None:
        raise UnavailableError("redis", "away")

    monkeypatch.setattr(api.limiter, "refund", away)
    api.log.failure = UnavailableError("kafka", "away")
    with structlog.testing.capture_logs() as logs:
        assert (await send(api, EVENT)).json()["code"] == "kafka_unavailable"
    assert [entry["cost"] for entry in logs if entry["event"] == "refund_failed"] == [1]
