"""The client of a run: its pace, its waits, and what it does without an answer."""

import asyncio
import random

import pytest

from sleepctl.io.api_client import Answer
from sleepctl.mass.patient_api import ATTEMPTS, LONGEST_WAIT_SECONDS, MOST_WAITS, NoAnswerError, Pace, PatientApi
from sleepctl.ui.errors import CommandError
from tests.unit.sleepctl.mass.fakes import Tenants, once, problem

UNAVAILABLE = problem(503, "redis_unavailable", "Redis does not answer")


class Time:
    """A clock that only waits move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def seconds(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    """The time of a test."""
    return Time()


def _patient(tenants: Tenants, time: Time, per_second: float = 1e6) -> PatientApi:
    return PatientApi(
        tenants, "wake", Pace(per_second, time.seconds, time.pause), time.pause, random.Random(1), time.seconds
    )


def _get(api: PatientApi) -> Answer:
    return asyncio.run(api.call("GET", "/api/util/sleep", tenant="acme"))


def test_requests_begin_no_sooner_than_the_pace_allows(time: Time) -> None:
    """Time that passed without requests is not made up for."""
    pace = Pace(4, time.seconds, time.pause)

    async def begin(count: int) -> list[float]:
        began = []
        for _ in range(count):
            await pace.turn()
            began.append(time.now)
        return began

    assert asyncio.run(begin(3)) == [100.0, 100.25, 100.5]
    time.now = 200.0
    assert asyncio.run(begin(2)) == [200.0, 200.25]


def test_each_request_names_its_run(time: Time) -> None:
    """Beside its own headers."""
    tenants = Tenants("acme")
    api = _patient(tenants, time)
    asyncio.run(api.call("GET", "/api/util/sleep", tenant="acme", headers={"Prefer": "wait=1"}))
    assert tenants.calls[0][4] == {"Prefer": "wait=1", "Sleep-Run": "wake"}


def test_a_used_up_budget_is_waited_for(time: Time) -> None:
    """As long as the API says, and up to a second more."""
    tenants = Tenants("acme")
    tenants.instead = [once(problem(429, "quota_exceeded", "60000 in 60 s", **{"Retry-After": "7"}), times=2)]
    assert _get(_patient(tenants, time)).status == 200
    assert len(time.waits) == 2
    assert all(7 <= wait < 8 for wait in time.waits)


@pytest.mark.parametrize(("header", "least"), [("86400", LONGEST_WAIT_SECONDS), ("soon", 1.0)])
def test_a_wait_is_bounded_and_a_wrong_one_is_a_second(time: Time, header: str, least: float) -> None:
    """Whatever a proxy writes."""
    tenants = Tenants("acme")
    tenants.instead = [once(problem(429, "quota_exceeded", "no", **{"Retry-After": header}))]
    assert _get(_patient(tenants, time)).status == 200
    assert least <= time.waits[0] < least + 1


def test_a_budget_that_never_fills_is_no_answer(time: Time) -> None:
    """After many waits."""
    tenants = Tenants("acme")
    tenants.instead = [once(problem(429, "quota_exceeded", "none are left"), times=1_000)]
    with pytest.raises(NoAnswerError, match="none are left"):
        _get(_patient(tenants, time))
    assert len(tenants.calls) == MOST_WAITS + 1


def test_an_api_that_is_away_is_asked_again_with_growing_waits(time: Time) -> None:
    """Until it answers."""
    tenants = Tenants("acme")
    tenants.instead = [once(UNAVAILABLE, times=ATTEMPTS - 1)]
    assert _get(_patient(tenants, time)).status == 200
    assert len(time.waits) == ATTEMPTS - 1
    assert time.waits[0] <= 0.5 < time.waits[-1] <= 5.0


def test_after_all_attempts_there_is_no_answer(time: Time) -> None:
    """The error has the last reason."""
    tenants = Tenants("acme")
    tenants.instead = [once(UNAVAILABLE, times=1_000)]
    with pytest.raises(NoAnswerError, match="Redis does not answer"):
        _get(_patient(tenants, time))
    assert len(tenants.calls) == ATTEMPTS


def test_a_request_that_is_no_longer_fresh_is_not_repeated(time: Time) -> None:
    """A machine that was suspended in between has lost hours, and the log has forgotten the command."""
    tenants = Tenants("acme")

    def suspended(*_: object) -> None:
        time.now += 7_200
        raise CommandError("the connection was reset")

    tenants.instead = [suspended]
    with pytest.raises(NoAnswerError, match="longer than 240 s: the connection was reset"):
        _get(_patient(tenants, time))


def test_a_connection_that_fails_is_tried_again(time: Time) -> None:
    """As `ApiClient` raises it."""
    tenants = Tenants("acme")
    left = [ATTEMPTS - 1]

    def away(*_: object) -> None:
        if left[0]:
            left[0] -= 1
            raise CommandError("the API does not answer")

    tenants.instead = [away]
    assert _get(_patient(tenants, time)).status == 200


def test_a_refusal_of_the_log_is_an_answer_although_it_is_503(time: Time) -> None:
    """The same id would be refused again."""
    tenants = Tenants("acme")
    tenants.instead = [once(problem(503, "too_late", "the log took it after its not_after"), times=1_000)]
    assert _get(_patient(tenants, time)).document["code"] == "too_late"
    assert len(tenants.calls) == 1
