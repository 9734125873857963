"""The small parts: preferences, ids, receipts, dependencies, lag."""

import asyncio
from math import isnan
from typing import NoReturn
from uuid import UUID

import pytest
import structlog
from aiokafka.errors import KafkaError
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.adapters.dependency import Dependency, UnavailableError, describe, keep
from api.commands.operation_id import new_id, uuid7
from api.commands.receipt import Receipt
from api.errors.problems import on_problem
from api.http.prefer import Preference, parse_prefer
from api.observability.lag import STALLED_MS, Lag, StalledPartition
from schemas.clock import now_ms
from schemas.domain.sealing import NewerLayoutError
from tests.support.times import NOW
from tests.unit.api.fakes import FakeClock, FakeStore, Pauses


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Preference()),
        (["respond-async"], Preference(None, respond_async=True)),
        (["Respond-Async;x=1, WAIT=5"], Preference(5, respond_async=True)),
        (["wait=5", "respond-async"], Preference(5, respond_async=True)),
        (['wait="7"'], Preference(7)),
        (["wait=61"], Preference(60)),
        (["wait=1, wait=2"], Preference(1)),
        (["wait=-1"], Preference()),
        (["wait=1.5"], Preference()),
        (["wait=٣"], Preference()),
        ([f"wait={'9' * 5000}"], Preference()),
        (["wait"], Preference()),
        (["handling=lenient,,"], Preference()),
    ],
)
def test_prefer_is_read_leniently(headers: list[str], expected: Preference) -> None:
    """What is unknown or malformed is ignored (RFC 7240)."""
    assert parse_prefer(headers) == expected


def test_ids_are_uuids_of_version_7() -> None:
    """Time first, so they sort; variant and version as RFC 9562 says."""
    made = uuid7(0x017F22E279B0, ((0x18C4DC0C0C07398F << 12) | 0xCC3).to_bytes(10, "big"))
    assert made == UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), "the example of RFC 9562, A.6"
    assert UUID(new_id(NOW)).version == 7
    assert new_id(NOW) < new_id(NOW + 1)
    assert new_id(NOW) != new_id(NOW)


def test_the_clock_is_in_milliseconds() -> None:
    """Since the epoch."""
    assert now_ms() > 1_700_000_000_000


def test_a_receipt_survives_the_store() -> None:
    """Layout 1."""
    receipt = Receipt("op-1", "acme", "mode", "light", NOW, "ops", "why", None, "3:7")
    assert Receipt.unpack(receipt.pack()) == receipt
    for wrong in (b"{}", b"[]", b"[1]", b"[0" + b",null" * 9 + b"]", b"x"):
        with pytest.raises(ValueError, match=r".+") as refused:
            Receipt.unpack(wrong)
        assert not isinstance(refused.value, NewerLayoutError)
    with pytest.raises(NewerLayoutError, match="layout 2 is newer than 1"):
        Receipt.unpack(b"[2" + b",null" * 9 + b"]")


def test_an_outage_is_logged_once() -> None:
    """One line when it begins, one when it ends, however often it is found."""
    dependency = Dependency("kafka")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            dependency.mark_down("refused")
        for _ in range(3):
            dependency.mark_up("4 partitions")
    assert [(line["event"], line["finding"]) for line in logs] == [
        ("dependency_down", "refused"),
        ("dependency_up", "4 partitions"),
    ]


def test_a_dependency_that_is_away_is_not_used() -> None:
    """With what was found."""
    dependency = Dependency("kafka")
    with pytest.raises(UnavailableError, match="kafka: not yet tried"):
        dependency.require()
    dependency.mark_up()
    dependency.require()


def test_an_error_is_one_line() -> None:
    """Its type, and its text if it has one."""
    assert describe(ValueError("a\n b")) == "ValueError: a b"
    assert describe(TimeoutError()) == "TimeoutError"
    assert describe(KafkaError("gone")) == "KafkaError: gone"
    assert describe(UnavailableError("opa", "refused")) == "refused"


async def test_a_lost_connection_is_tried_again() -> None:
    """Quickly at first, then slower; after a success quickly again; a defect too, but with its traceback."""
    dependency, pauses = Dependency("redis"), Pauses(5)
    attempts = iter(["refused", "refused", "up", "refused", "defect"])

    async def connect() -> NoReturn:
        match next(attempts):
            case "up":
                dependency.mark_up()
                raise ConnectionResetError("closed")
            case "defect":
                raise KeyError("oops")
            case text:
                raise ConnectionRefusedError(text)

    with structlog.testing.capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await keep(dependency, connect, (OSError,), pauses)
    longest = [0.2, 0.4, 0.2, 0.4, 0.8]
    assert all(most / 2 <= paused <= most for paused, most in zip(pauses.seconds, longest, strict=True))
    assert [line["event"] for line in logs] == [
        "dependency_down",
        "dependency_up",
        "dependency_down",
        "dependency_task_failed",
    ]


async def test_a_defect_while_connected_is_an_outage_too() -> None:
    """It starts counting afresh."""
    dependency, pauses = Dependency("redis"), Pauses(1)

    async def connect() -> NoReturn:
        dependency.mark_up()
        raise KeyError("oops")

    with pytest.raises(asyncio.CancelledError):
        await keep(dependency, connect, (OSError,), pauses)
    assert not dependency.up


def test_a_partition_stands_still_when_nothing_is_applied_while_records_wait() -> None:
    """Neither an idle one nor a slow one does."""
    lag = Lag()
    lag.sample({0: 5, 1: 5, 2: 5}, {0: 5, 1: 9, 2: 9, 3: 1}, NOW)
    assert lag.stalled(NOW) == []
    lag.sample({0: 5, 1: 5, 2: 6}, {0: 5, 1: 12, 2: 9, 3: 1}, NOW + STALLED_MS)
    assert lag.stalled(NOW + STALLED_MS) == [
        StalledPartition(1, 5, 7, STALLED_MS),
        StalledPartition(3, 0, 1, STALLED_MS),
    ]
    lag.sample({1: 12, 3: 1}, {1: 12, 3: 1}, NOW + STALLED_MS)
    assert lag.stalled(NOW + STALLED_MS) == []


def test_waiting_records_are_known_while_kafka_and_redis_answer() -> None:
    """Zero is not the same as unknown."""
    lag = Lag()
    assert isnan(lag.waiting(0))
    lag.sample({0: 5, 1: 5}, {0: 5, 1: 9}, NOW)
    assert [lag.waiting(0), lag.waiting(1)] == [0, 4]
    lag.forget()
    assert isnan(lag.waiting(1))


async def test_progress_is_watched_while_kafka_and_redis_answer() -> None:
    """While one does not, nothing is known."""
    lag, store, clock = Lag(), FakeStore(), FakeClock()
    store.applied = {0: 1}
    away = False

    async def ends() -> dict[int, int]:
        if away:
            raise UnavailableError("kafka", "no broker")
        return {0: 2}

    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await lag.watch(store, ends, clock, Pauses(1))
        clock.now += STALLED_MS
    assert [standing.partition for standing in lag.stalled(clock.now)] == [0]
    away = True
    with pytest.raises(asyncio.CancelledError):
        await lag.watch(store, ends, clock, Pauses(1))
    assert lag.stalled(clock.now) == []


def _request() -> Request:
    return Request({"type": "http", "sleep.facts": {"request_id": "018f0000-0000-7000-8000-000000000000"}})


async def test_a_wrong_parameter_is_a_problem_with_its_field() -> None:
    """What FastAPI finds wrong before a route runs."""
    error = RequestValidationError([{"loc": ("query", "limit"), "msg": "too large", "type": "x"}])
    response = await on_problem(_request(), error)
    assert response.status_code == 422
    assert b'"errors":[{"field":"limit","reason":"too large"}]' in response.body


async def test_any_other_http_error_is_a_problem() -> None:
    """Of no code of ours."""
    response = await on_problem(_request(), HTTPException(400, "odd"))
    assert b'"code":"http_error"' in response.body


async def test_an_error_that_nobody_expects_is_not_answered_here() -> None:
    """The edge makes it a 500."""
    with pytest.raises(KeyError):
        await on_problem(_request(), KeyError("x"))
