"""When a command has a receipt, over HTTP: never a 202 without one, and none where nobody needs it."""

from collections.abc import Callable
from typing import Any

import pytest

from api.adapters.dependency import UnavailableError
from api.adapters.kafka_events import OutcomeUnknownError
from api.commands.receipt import Receipt
from schemas.kafka.partitioner import partition_of
from schemas.wire.operation_ids import operation_id_of
from tests.support.operations import decision_of, outcome
from tests.unit.api.application import ApiOverFakes

URL = "/api/util/sleep"
SLEEP: dict[str, object] = {"target_state": "deep", "ttl_seconds": 60}
LATER = SLEEP | {"async_mode": True}
KEYED = {"Idempotency-Key": "k-1"}
DECIDED = decision_of("sleep.operation.v1", target="deep", ttl_ms=60_000)
AWAY = UnavailableError("kafka", "no broker")


@pytest.fixture
def before_the_log(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> list[Receipt]:
    """The receipts that were there when a command was published."""
    seen: list[Receipt] = []
    publish = api.log.publish

    async def look_and_publish(partition: int, key: bytes, value: bytes) -> int | None:
        seen.extend(api.store.receipts.values())
        return await publish(partition, key, value)

    monkeypatch.setattr(api.log, "publish", look_and_publish)
    return seen


def on_publish(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Let something happen at the moment of a publish."""
    publish = api.log.publish

    async def publish_and_let_it(partition: int, key: bytes, value: bytes) -> int | None:
        happen()
        return await publish(partition, key, value)

    monkeypatch.setattr(api.log, "publish", publish_and_let_it)


async def _shown(api: ApiOverFakes, answer: Any) -> tuple[int, Any, Any]:  # noqa: ANN401 - httpx's answer
    """Return what a `GET` of an answer's location says: status of HTTP, status and code of the operation."""
    response = await api.client.get(answer.headers["location"])
    return response.status_code, response.json()["status"], response.json()["code"]


# Who waits


async def test_an_answer_in_time_leaves_no_receipt(api: ApiOverFakes) -> None:
    """Nobody else knew the id. Redis could have gone away."""
    api.replies.answer = outcome()
    api.store.down = {"put", "note", "withdraw"}
    assert (await api.client.post(URL, json=SLEEP)).status_code == 200
    assert (api.store.receipts, len(api.replies.waits)) == ({}, 1)


async def test_an_answer_that_came_before_the_ack_leaves_no_receipt(api: ApiOverFakes) -> None:
    """The worker may be that fast."""
    api.replies.answer, api.replies.early = outcome(), True
    assert (await api.client.post(URL, json=SLEEP)).status_code == 200
    assert api.store.receipts == {}


async def test_an_answer_that_comes_late_has_its_receipt_before(api: ApiOverFakes) -> None:
    """After 0.25 s others find the command, at its position, so that they can cancel it."""
    api.replies.answer, api.replies.late = outcome(), True
    assert (await api.client.post(URL, json=SLEEP)).status_code == 200
    [receipt] = api.store.receipts.values()
    assert receipt.position == f"{partition_of('acme', 8)}:7"
    assert api.replies.waits == [0.25, 9.75]


async def test_an_answer_that_comes_late_needs_no_receipt_itself(api: ApiOverFakes) -> None:
    """Redis was away for a moment, and then the outcome was there."""
    api.replies.answer, api.replies.late = outcome(), True
    api.store.down = {"note"}
    assert (await api.client.post(URL, json=SLEEP)).status_code == 200


async def test_a_wait_in_vain_ends_with_a_receipt(api: ApiOverFakes) -> None:
    """A `GET` right after the 202 finds the command."""
    answer = await api.client.post(URL, json=SLEEP)
    assert answer.status_code == 202
    assert await _shown(api, answer) == (200, "accepted", None)


@pytest.mark.parametrize(("headers", "most"), [({"Prefer": "wait=1"}, 1_000), ({}, 0)])
async def test_without_a_receipt_there_is_no_202(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], most: int
) -> None:
    """Also where too many wait. The command is in the log, so its outcome will be there."""
    monkeypatch.setattr("api.commands.submit.MOST_WAITING", most)
    api.store.down = {"note"}
    answer = await api.client.post(URL, json=SLEEP, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["operation_id"]) == (503, "outcome_unknown", "id-1")
    assert answer.headers["location"] == "/api/operations/id-1"
    assert problem["detail"].startswith("the command is in the log, but Redis did not answer")
    assert len(api.log.published) == 1
    assert 'sleep_api_commands_total{result="outcome_unknown",type="operation"} 1.0' in (
        api.services.metrics.render().decode()
    )


async def test_a_receipt_of_the_wait_is_enough_for_a_202(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis took it after 0.25 s, and is away at the end."""
    note = api.store.note

    async def note_once(receipt: Receipt) -> object:
        found = await note(receipt)
        api.store.down = {"note"}
        return found

    monkeypatch.setattr(api.store, "note", note_once)
    answer = await api.client.post(URL, json=SLEEP)
    assert answer.status_code == 202
    assert await _shown(api, answer) == (200, "accepted", None)


async def test_an_outcome_whose_message_was_lost_is_found_when_the_wait_ends(api: ApiOverFakes) -> None:
    """Pub/sub may lose a message, the record does not; it is left without a receipt."""
    api.store.outcomes["acme", "id-1"] = outcome(operation_id="id-1", decision=DECIDED)
    response = await api.client.post(URL, json=SLEEP)
    assert (response.status_code, response.json()["status"]) == (200, "running")
    assert api.store.receipts == {}


# Who does not


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", URL, SLEEP),
        ("POST", "/api/brain/sleep_mode", {"target_state": "light"}),
        ("POST", "/api/brain/sleep_mode", {"target_state": "active"}),
        ("PUT", "/api/brain/sleep_policy", {}),
        ("DELETE", f"{URL}/op-1", None),
    ],
)
async def test_an_asynchronous_command_has_its_receipt_before_the_log_has_it(
    api: ApiOverFakes, before_the_log: list[Receipt], method: str, path: str, body: dict[str, object] | None
) -> None:
    """Then its position is added, so that a `GET` says accepted."""
    api.store.outcomes["acme", "op-1"] = outcome()
    headers = {"Prefer": "respond-async", "If-Match": "*"}
    answer = await api.client.request(method, path, json=body, headers=headers)
    assert answer.status_code == 202
    assert [(receipt.operation_id, receipt.position) for receipt in before_the_log] == [("id-1", None)]
    assert sum(api.limiter.spent.values()) == 1
    assert await _shown(api, answer) == (200, "accepted", None)


async def test_a_synchronous_command_has_no_receipt_before_the_log_has_it(
    api: ApiOverFakes, before_the_log: list[Receipt]
) -> None:
    """A `DELETE` of it is 404 until then."""
    await api.client.post(URL, json=SLEEP)
    assert before_the_log == []


async def test_an_asynchronous_command_over_the_limit_has_no_receipt(api: ApiOverFakes) -> None:
    """The limit comes first, before the log and the form are looked at."""
    api.limiter.amount = 0
    api.log.down = AWAY
    for body in (LATER, LATER | {"ttl_seconds": -1}, SLEEP | {"ttl_seconds": -1}):
        assert (await api.client.post(URL, json=body)).status_code == 429
    assert (api.store.receipts, api.log.published) == ({}, [])


async def test_a_command_whose_form_is_refused_costs_and_leaves_no_receipt(api: ApiOverFakes) -> None:
    """As one that is published costs."""
    for number, body in enumerate((LATER, SLEEP), start=1):
        refused = await api.client.post(URL, json=body | {"ttl_seconds": -1})
        assert (refused.status_code, refused.json()["code"]) == (422, "ttl_out_of_range")
        spent = {budget: cost for (_, budget), cost in api.limiter.spent.items()}
        assert (spent["sleep"], api.store.receipts) == (number, {})


@pytest.mark.parametrize("body", [SLEEP, LATER])
async def test_kafka_away_publishes_nothing_and_leaves_no_receipt(api: ApiOverFakes, body: dict[str, object]) -> None:
    """Known to be away, or found to be."""
    api.log.down = AWAY
    for _ in range(2):
        response = await api.client.post(URL, json=body)
        assert (response.status_code, response.json()["code"]) == (503, "kafka_unavailable")
        assert response.headers["retry-after"] == "1"
        assert api.store.receipts == {}
        api.log.down, api.log.failure = None, AWAY


async def test_a_receipt_that_cannot_be_withdrawn_shows_an_unknown_outcome(api: ApiOverFakes) -> None:
    """Redis away too: the answer is the same."""
    api.log.failure = AWAY
    api.store.down = {"withdraw"}
    assert (await api.client.post(URL, json=LATER)).json()["code"] == "kafka_unavailable"
    shown = await api.client.get("/api/operations/id-1")
    assert (shown.status_code, shown.json()["code"]) == (200, "outcome_unknown")


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_redis_away_before_the_log_publishes_nothing(api: ApiOverFakes, method: str) -> None:
    """An asynchronous command needs its receipt first."""
    api.store.down = {"put"}
    path = URL if method == "POST" else "/api/brain/sleep_policy"
    headers = {"Prefer": "respond-async", "If-Match": "*"}
    response = await api.client.request(method, path, json=SLEEP if method == "POST" else {}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (503, "redis_unavailable")
    assert api.log.published == []


async def test_an_asynchronous_command_is_202_without_a_position(api: ApiOverFakes) -> None:
    """Redis goes away after the publish: its receipt is there, and a `GET` finds it."""
    api.store.down = {"note"}
    answer = await api.client.post(URL, json=LATER)
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    assert await _shown(api, answer) == (200, "accepted", "outcome_unknown")


async def test_an_ack_without_an_offset_leaves_no_position(api: ApiOverFakes) -> None:
    """A repeated send whose first ack was lost is acknowledged without one."""
    api.log.offset = None
    response = await api.client.post(URL, json=LATER)
    assert response.json()["position"] is None


# Lost acknowledgements, and repeats


@pytest.mark.parametrize("body", [SLEEP, LATER])
async def test_a_lost_ack_is_an_unknown_outcome(api: ApiOverFakes, body: dict[str, object]) -> None:
    """503 with the id, and the operation shows the same."""
    api.log.failure = OutcomeUnknownError("no ack within 4 s")
    response = await api.client.post(URL, json=body)
    assert (response.status_code, response.json()["code"]) == (503, "outcome_unknown")
    assert response.json()["operation_id"] == "id-1"
    assert response.json()["detail"].startswith("no acknowledgement came")
    shown = await api.client.get(response.headers["location"])
    assert (shown.json()["status"], shown.json()["position"]) == ("accepted", None)
    assert await _shown(api, response) == (200, "accepted", "outcome_unknown")


async def test_a_lost_ack_with_redis_away_is_an_unknown_outcome_too(api: ApiOverFakes) -> None:
    """Nothing more can be done; the caller looks until the command is folded."""
    api.log.failure = OutcomeUnknownError("no ack within 4 s")
    api.store.down = {"note"}
    response = await api.client.post(URL, json=SLEEP)
    assert (response.status_code, response.json()["code"]) == (503, "outcome_unknown")
    assert api.store.receipts == {}


async def test_a_lost_ack_of_a_command_that_was_folded_leaves_no_receipt(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker had it all the same, and the worker was faster than the timeout."""
    api.log.failure = OutcomeUnknownError("no ack within 4 s")
    record = outcome(operation_id="id-1", decision=DECIDED)
    on_publish(api, monkeypatch, lambda: api.store.outcomes.update({("acme", "id-1"): record}))
    response = await api.client.post(URL, json=SLEEP)
    assert (response.status_code, response.json()["code"]) == (503, "outcome_unknown")
    assert api.store.receipts == {}
    assert await _shown(api, response) == (200, "running", None)


@pytest.mark.parametrize("body", [SLEEP, LATER])
async def test_a_repeat_that_is_refused_leaves_the_first_ones_receipt(
    api: ApiOverFakes, body: dict[str, object]
) -> None:
    """The first caller was told 202, and a `GET` must find it."""
    first = await api.client.post(URL, json=LATER | {"reason": "first"}, headers=KEYED)
    api.log.failure = AWAY
    assert (await api.client.post(URL, json=body, headers=KEYED)).status_code == 503
    response = await api.client.get(first.headers["location"])
    assert (response.status_code, response.json()["reason"]) == (200, "first")


async def test_a_first_try_that_is_refused_leaves_the_repeats_receipt(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were on their way at once, and the repeat was told 202."""
    id_ = operation_id_of("acme", "ops@acme", "k-1")
    api.log.failure = AWAY

    def repeat() -> None:
        written = api.store.receipts["acme", id_]
        api.store.receipts["acme", id_] = written._replace(position="3:9")

    on_publish(api, monkeypatch, repeat)
    assert (await api.client.post(URL, json=LATER, headers=KEYED)).status_code == 503
    assert api.store.receipts["acme", id_].position == "3:9"


async def test_a_repeat_without_a_receipt_of_its_own_needs_one_for_a_202(api: ApiOverFakes) -> None:
    """The first one may take its receipt away, if the log does not take it."""
    await api.client.post(URL, json=LATER, headers=KEYED)
    api.store.down = {"note"}
    response = await api.client.post(URL, json=LATER, headers=KEYED)
    assert (response.status_code, response.json()["code"]) == (503, "outcome_unknown")
