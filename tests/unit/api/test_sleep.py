"""`POST /api/util/sleep` over HTTP."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.types import Message

from api.adapters.dependency import UnavailableError
from api.commands.command_event import SOURCE
from api.commands.log_time import NOT_AFTER_MS
from schemas.kafka.partitioner import partition_of
from schemas.wire.documents import OperationDocument
from schemas.wire.events import OperationEvent
from tests.support.operations import outcome
from tests.support.times import NOW
from tests.unit.api.application import ApiOverFakes

SLEEP = {"target_state": "deep", "ttl_seconds": 60}
URL = "/api/util/sleep"


async def test_a_sleep_is_published_and_answered_with_its_outcome(api: ApiOverFakes) -> None:
    """The whole way of a synchronous command."""
    api.replies.answer = outcome()
    response = await api.client.post(URL, json=SLEEP | {"reason": "incident 7", "trace_id": "t-1"})
    assert response.status_code == 200
    document = OperationDocument.model_validate(response.json())
    assert (document.operation_id, document.status, document.state) == ("id-1", "running", "deep")
    assert list(response.json()) == list(OperationDocument.model_fields), "no field more, none less"
    [event] = api.log.events
    assert isinstance(event, OperationEvent)
    assert (event.source, event.subject, event.id) == (SOURCE, "acme", "id-1")
    assert event.time == "2026-11-22T08:07:17.992Z"
    assert event.data.model_dump() == {
        "operation_id": "id-1",
        "actor": "ops@acme",
        "reason": "incident 7",
        "decision_id": "decision-1",
        "trace_id": "t-1",
        "reply_to": "sleep:reply:test",
        "not_after": NOW + NOT_AFTER_MS,
        "target": "deep",
        "ttl_ms": 60_000,
    }
    [(partition, key, _)] = api.log.published
    assert (partition, key) == (partition_of("acme", 8), b"acme")


async def test_the_policy_is_asked_with_state_and_ttl(api: ApiOverFakes) -> None:
    """What OPA may judge is all there."""
    api.replies.answer = outcome()
    await api.client.post(URL, json=SLEEP | {"ttl_seconds": 0.5})
    [question] = api.authoriser.questions
    assert question[:4] == ("sleep", "acme", "acme", "ops@acme")
    assert question[5:] == ("deep", 0.5, False)


async def test_async_mode_answers_at_once_with_the_receipt(api: ApiOverFakes) -> None:
    """202, where to look, and when."""
    response = await api.client.post(URL, json=SLEEP | {"async_mode": True})
    assert response.status_code == 202
    assert response.headers["location"] == "/api/operations/id-1"
    assert response.headers["retry-after"] == "1"
    document = OperationDocument.model_validate(response.json())
    assert (document.status, document.code) == ("accepted", None)
    assert document.position == f"{partition_of('acme', 8)}:7"
    assert api.replies.waits == []


async def test_a_get_right_after_a_202_finds_the_receipt(api: ApiOverFakes) -> None:
    """Never 404."""
    accepted = await api.client.post(URL, json=SLEEP | {"async_mode": True})
    for url in (accepted.headers["location"], f"{URL}/id-1"):
        response = await api.client.get(url)
        assert (response.status_code, response.json()) == (200, accepted.json())


@pytest.mark.parametrize(
    ("prefer", "async_mode", "waits", "applied"),
    [
        (None, False, [10], None),
        ("wait=3", False, [3], "wait=3"),
        ("wait=600", False, [60], "wait=60"),
        ("wait=0", False, [], "wait=0"),
        ("respond-async", False, [], "respond-async"),
        ("respond-async, wait=3", False, [3], "respond-async, wait=3"),
        ("wait=3", True, [], None),
        ("respond-async, wait=3", True, [], "respond-async"),
        ("wait=soon, handling=strict", False, [10], None),
    ],
)
async def test_a_wait_that_ends_answers_202(
    api: ApiOverFakes, prefer: str | None, waits: list[float], applied: str | None, *, async_mode: bool
) -> None:
    """`Prefer` says how long, `async_mode` wins over it, `Preference-Applied` says what was done."""
    headers = {} if prefer is None else {"Prefer": prefer}
    response = await api.client.post(URL, json=SLEEP | {"async_mode": async_mode}, headers=headers)
    assert response.status_code == 202
    assert sum(api.replies.waits) == sum(waits)
    assert response.headers.get("preference-applied") == applied


async def test_an_answer_in_time_was_not_respond_async(api: ApiOverFakes) -> None:
    """With both preferences, an answer within the wait is 200."""
    api.replies.answer = outcome()
    response = await api.client.post(URL, json=SLEEP, headers={"Prefer": "respond-async, wait=5"})
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=5")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ttl_out_of_range", 422),
        ("idempotency_conflict", 422),
        ("too_many_operations", 409),
        ("not_running", 409),
        ("too_late", 503),
    ],
)
async def test_a_refusal_is_a_problem_with_its_code(api: ApiOverFakes, code: str, status: int) -> None:
    """Each refusal of the log has its HTTP status."""
    api.replies.answer = outcome(refused=True, code=code, detail="the worker's words")
    response = await api.client.post(URL, json=SLEEP)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == code
    assert problem["type"] == f"urn:somabrain-sleep:problem:{code}"
    assert problem["detail"] == "the worker's words"
    assert problem["operation_id"] == "id-1"
    assert problem["instance"] == f"urn:uuid:{response.headers['x-request-id']}"


@pytest.mark.parametrize("ttl", [3601, 2_592_000])
async def test_a_ttl_out_of_range_is_judged_by_the_log(api: ApiOverFakes, ttl: float) -> None:
    """The tenant's maximum is in the log, so the command goes there, and the refusal names the field."""
    api.replies.answer = outcome(refused=True, code="ttl_out_of_range")
    response = await api.client.post(URL, json=SLEEP | {"ttl_seconds": ttl})
    assert len(api.log.published) == 1
    assert response.json()["errors"] == [{"field": "ttl_seconds", "reason": "The TTL is out of range"}]


@pytest.mark.parametrize("ttl", [0, -1, 2_592_000.001, 1e300])
async def test_a_ttl_that_no_policy_allows_is_refused_before_it_is_published(api: ApiOverFakes, ttl: float) -> None:
    """With the code and the field that the log would give."""
    response = await api.client.post(URL, json=SLEEP | {"ttl_seconds": ttl})
    assert (response.status_code, response.json()["code"]) == (422, "ttl_out_of_range")
    assert [error["field"] for error in response.json()["errors"]] == ["ttl_seconds"]
    assert (api.log.published, api.store.receipts) == ([], {})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target_state": "active"}, "target_state"),
        ({"target_state": 3}, "target_state"),
        ({"ttl_seconds": "60"}, "ttl_seconds"),
        ({"ttl_seconds": None}, "ttl_seconds"),
        ({"ttl_seconds": True}, "ttl_seconds"),
        ({"ttl_seconds": 1.0001}, "ttl_seconds"),
        ({"ttl_seconds": 1.7e308}, "ttl_seconds"),
        ({"async_mode": 1}, "async_mode"),
        ({"reason": "a" * 257}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"trace_id": "é"}, "trace_id"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_a_wrong_body_is_refused_at_the_door(api: ApiOverFakes, change: dict[str, Any], field: str) -> None:
    """422 names the field, and nothing is published."""
    response = await api.client.post(URL, json=SLEEP | change)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert error["reason"]
    assert api.log.published == []
    assert api.authoriser.questions == []


async def test_null_for_an_optional_field_means_absent(api: ApiOverFakes) -> None:
    """As in the log."""
    body = SLEEP | {"async_mode": None, "reason": None, "trace_id": None}
    assert (await api.client.post(URL, json=body)).status_code == 202
    assert sum(api.replies.waits) == 10


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"ttl_seconds": NaN}', b'"\\ud800"', b"[" * 300, b"1" * 5000, b"\xff"]
)
async def test_a_body_that_is_no_json_is_refused(api: ApiOverFakes, content: bytes) -> None:
    """400, in the words of the parser."""
    response = await api.client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("content", [b"[]", b"7", b"null"])
async def test_a_body_that_is_no_object_is_refused(api: ApiOverFakes, content: bytes) -> None:
    """422, of the whole document."""
    response = await api.client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "(document)")


async def test_a_number_that_fits_no_double_is_refused(api: ApiOverFakes) -> None:
    """1e400 reads as infinite."""
    content = b'{"target_state": "deep", "ttl_seconds": 1e400}'
    response = await api.client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert response.json()["errors"] == [{"field": "ttl_seconds", "reason": "the number is not finite"}]


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", ""])
async def test_a_body_of_another_type_is_refused(api: ApiOverFakes, media_type: str) -> None:
    """A browser's form cannot be a command."""
    response = await api.client.post(URL, content=b"{}", headers={"Content-Type": media_type})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused(api: ApiOverFakes, *, declared: bool) -> None:
    """By its declared length, or while it is read."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * 8192

    content = b" " * 65_537 if declared else chunks()
    response = await api.client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.headers["connection"] == "close"


async def test_a_body_that_breaks_off_is_not_read(api: ApiOverFakes) -> None:
    """A caller that left gets no command published."""
    token = api.client.headers["authorization"].encode()
    headers = [(b"content-type", b"application/json"), (b"authorization", token)]
    scope = {"type": "http", "method": "POST", "path": URL, "headers": headers, "query_string": b""}
    parts: Iterator[Message] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[Message] = []

    async def receive() -> Message:
        return next(parts)

    async def send(message: Message) -> None:
        sent.append(message)

    await api.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert api.log.published == []


async def test_a_body_at_the_limit_is_read(api: ApiOverFakes) -> None:
    """64 KiB is not over 64 KiB."""
    content = b'{"target_state": "deep", "ttl_seconds": 60, "async_mode": true}'.ljust(65_536)
    response = await api.client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 202


async def test_without_policys_consent_nothing_is_published(api: ApiOverFakes) -> None:
    """403 with the reasons and the decision's id."""
    refused = api.authoriser.decision._replace(allow=False, reasons=("the scope sleep:write is needed",))
    api.authoriser.decision = refused
    response = await api.client.post(URL, json=SLEEP)
    assert response.status_code == 403
    assert response.json()["detail"] == "the scope sleep:write is needed"
    assert response.json()["reasons"] == ["the scope sleep:write is needed"]
    assert response.json()["decision_id"] == "decision-1"
    assert api.log.published == []
    api.authoriser.decision = refused._replace(reasons=())
    assert (await api.client.post(URL, json=SLEEP)).json()["detail"] == "policy does not allow this"


async def test_without_a_decision_nothing_is_published(api: ApiOverFakes) -> None:
    """No answer is no."""
    api.authoriser.failure = UnavailableError("opa", "ConnectError: 10.0.0.7")
    response = await api.client.post(URL, json=SLEEP)
    assert (response.status_code, response.json()["code"]) == (503, "opa_unavailable")
    assert "10.0.0.7" not in response.text, "where things run is not for callers"
    assert api.log.published == []
