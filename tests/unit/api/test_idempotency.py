"""`Idempotency-Key`: the id that a key fixes, and what a repeat is answered."""

from itertools import product
from typing import Any

import pytest

from api.adapters.dependency import UnavailableError
from api.commands.command_event import Order
from api.commands.replies import Waiting
from api.errors.problems import ProblemError
from api.http.idempotency import parse_key
from schemas.wire.operation import REMEMBERED_MS
from schemas.wire.operation_ids import operation_id_of
from tests.support.operations import DECISION, decision_of, outcome
from tests.support.times import NOW
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes

SLEEP = {"target_state": "deep", "ttl_seconds": 60}
URL = "/api/util/sleep"
DECIDED = decision_of("sleep.operation.v1", target="deep", ttl_ms=60_000)


async def send(api: ApiOverFakes, key: str = "k-1", **change: object) -> Any:  # noqa: ANN401 - httpx's answer
    """Ask for a sleep under a key."""
    return await api.client.post(URL, json=SLEEP | change, headers={"Idempotency-Key": key})


async def test_the_same_key_publishes_the_same_operation_id(api: ApiOverFakes) -> None:
    """So the log recognises the repeat."""
    api.replies.answer = outcome()
    first, second = await send(api), await send(api)
    assert first.json() == second.json()
    one, two = (event.id for event in api.log.events)
    assert one == two == operation_id_of("acme", "ops@acme", "k-1")


async def test_quoted_and_bare_name_the_same_key(api: ApiOverFakes) -> None:
    """The draft wants quotes, most callers send none."""
    await send(api, '"k-1"')
    await send(api, "k-1")
    assert len({event.id for event in api.log.events}) == 1


def test_every_tenant_subject_and_key_have_an_id_of_their_own() -> None:
    """Nobody can guess or take another's id by choosing a key."""
    parts = ["a", "b", "a:b", "ab", "a/b"]
    assert len({operation_id_of(*three) for three in product(parts, repeat=3)}) == len(parts) ** 3


async def test_two_subjects_of_a_tenant_do_not_share_a_key(api: ApiOverFakes) -> None:
    """The subject is part of the id."""
    await send(api)
    other = {"Idempotency-Key": "k-1", "Authorization": f"Bearer {token(sub='else@acme')}"}
    await api.client.post(URL, json=SLEEP, headers=other)
    assert len({event.id for event in api.log.events}) == 2


@pytest.mark.parametrize(
    ("header", "key"),
    [("a", "a"), ('"a b"', "a b"), (r'"a\"b\\"', 'a"b\\'), ("x" * 128, "x" * 128), (" a ", "a")],
)
def test_a_key_is_read(header: str, key: str) -> None:
    """Quoted with its escapes, or bare."""
    assert parse_key([header]) == key


@pytest.mark.parametrize(
    "header", ["", '""', '"', '"a', 'a"b', "x" * 129, f'"{"x" * 129}"', "é", '"a"b"', "a b", "a\tb", "a\\b"]
)
def test_a_wrong_key_names_the_header(header: str) -> None:
    """1 to 128 printable characters."""
    with pytest.raises(ProblemError) as raised:
        parse_key([header])
    assert [error.field for error in raised.value.errors] == ["Idempotency-Key"]


async def test_two_keys_publish_nothing(api: ApiOverFakes) -> None:
    """Which of them would count?"""
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Authorization", f"Bearer {token()}")]
    response = await api.client.post(URL, json=SLEEP, headers=headers)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert api.log.published == []


async def test_a_key_fixes_the_id_of_every_command(api: ApiOverFakes) -> None:
    """Mode, policy and cancel as well."""
    id_ = operation_id_of("acme", "ops@acme", "k")
    api.store.outcomes["acme", "op-1"] = outcome()
    headers = {"Idempotency-Key": "k", "If-Match": "*", "Prefer": "respond-async"}
    client = api.client
    await client.post("/api/brain/sleep_mode", json={"target_state": "light"}, headers=headers)
    await client.put("/api/brain/sleep_policy", json={}, headers=headers)
    await client.delete("/api/brain/sleep_policy", headers=headers)
    await client.delete(f"{URL}/op-1", headers=headers)
    assert [event.id for event in api.log.events] == [id_] * 4


async def test_a_repeat_does_not_take_the_first_ones_receipt_away(api: ApiOverFakes) -> None:
    """The first caller was told 202, and a GET must find it."""
    api.log.offset = None
    accepted = await api.client.post(
        URL, json=SLEEP | {"async_mode": True, "reason": "first"}, headers={"Idempotency-Key": "k-1"}
    )
    api.log.failure = UnavailableError("kafka", "away")
    assert (await send(api)).status_code == 503
    response = await api.client.get(accepted.headers["location"])
    assert (response.status_code, response.json()["reason"]) == (200, "first")


async def test_another_decision_found_in_the_record_is_a_conflict(api: ApiOverFakes) -> None:
    """Where the answer's message was lost, the record of the first decision must not be taken for ours."""
    id_ = operation_id_of("acme", "ops@acme", "k-1")
    api.store.outcomes["acme", id_] = outcome(operation_id=id_)
    response = await send(api)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_conflict")


async def test_a_conflict_is_told_at_once_also_without_waiting(api: ApiOverFakes) -> None:
    """Else nobody would say that the other decision counts; a repeat of the same is 202 as the first was."""
    id_ = operation_id_of("acme", "ops@acme", "k-1")
    api.store.outcomes["acme", id_] = outcome(operation_id=id_)
    assert (await send(api, async_mode=True)).json()["code"] == "idempotency_conflict"
    api.store.outcomes["acme", id_] = outcome(operation_id=id_, decision=DECIDED)
    assert (await send(api, async_mode=True)).status_code == 202


async def test_an_outcome_that_the_log_has_forgotten_answers_nobody(api: ApiOverFakes) -> None:
    """An hour after it finished, the same key is a new command, whose outcome is still to come."""
    id_ = operation_id_of("acme", "ops@acme", "k-1")
    ended = NOW - REMEMBERED_MS
    api.store.outcomes["acme", id_] = outcome(operation_id=id_, created_at=ended - 1, expires_at=ended)
    assert (await send(api)).status_code == 202


async def test_a_waiter_hears_only_the_outcome_of_its_own_decision() -> None:
    """Of two callers with one id, each gets what the log said to it."""
    waiting = Waiting(DECIDED)
    waiting.deliver(outcome(decision=DECISION))
    assert not waiting.answered
    waiting.deliver(outcome(decision=DECIDED))
    record = await waiting.outcome(0)
    assert record is not None
    assert record.decision == DECIDED


@pytest.mark.parametrize(("deep", "wide", "code"), [(250, 0, "malformed_request"), (0, 8_000, "body_too_large")])
async def test_a_command_that_makes_no_event_is_not_published(
    api: ApiOverFakes, deep: int, wide: int, code: str
) -> None:
    """The worker would set it aside and nobody would ever answer: nested deeper than it reads, or too large as text."""
    policy: dict[str, Any] = {"x": [1e15] * wide}
    for _ in range(deep):
        policy = {"a": policy}
    order = Order("policy", "acme", "ops", "decision-1", {"policy": policy})
    with pytest.raises(ProblemError) as raised:
        await api.services.commands.submit(order, 0)
    assert raised.value.code == code
    assert (api.log.published, api.store.receipts) == ([], {})
