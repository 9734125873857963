"""`Preference-Applied` names no wait that was not kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from api.commands.replies import Waiting
from tests.support.operations import outcome
from tests.unit.api.application import ApiOverFakes

SLEEP = ("POST", "/api/util/sleep", {"target_state": "deep", "ttl_seconds": 60})
MODE = ("POST", "/api/brain/sleep_mode", {"target_state": "light"})
POLICY = ("PUT", "/api/brain/sleep_policy", {"ceiling": "deep"})
COMMANDS = [SLEEP, MODE, POLICY]
PREFERRED = [
    ("wait=5", None),
    ("respond-async, wait=5", "respond-async"),
    ("respond-async", "respond-async"),
    ("wait=0", "wait=0"),
    ("wait=5, wait=0", None),
]


@contextmanager
def _released(_tenant: str, _operation_id: str, decision: str) -> Iterator[Waiting]:
    waiting = Waiting(decision)
    waiting.deliver(None)
    yield waiting


@pytest.mark.parametrize(("method", "path", "body"), COMMANDS)
@pytest.mark.parametrize(("prefer", "applied"), PREFERRED)
async def test_a_caller_beyond_those_who_may_wait_is_not_told_that_it_waited(
    api: ApiOverFakes,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    body: dict[str, object],
    prefer: str,
    applied: str | None,
) -> None:
    """It is answered 202 at once, whatever wait it preferred."""
    monkeypatch.setattr("api.commands.submit.MOST_WAITING", 0)
    response = await api.client.request(method, path, json=body, headers={"Prefer": prefer, "If-Match": "*"})
    assert (response.status_code, api.replies.waits) == (202, [])
    assert response.headers.get("preference-applied") == applied


@pytest.mark.parametrize(("prefer", "applied"), PREFERRED)
async def test_a_wait_that_a_stop_cuts_short_is_not_named(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, prefer: str, applied: str | None
) -> None:
    """A process that stops answers 202 early."""
    monkeypatch.setattr(api.replies, "expect", _released)
    method, path, body = SLEEP
    response = await api.client.request(method, path, json=body, headers={"Prefer": prefer})
    assert response.status_code == 202
    assert response.headers.get("preference-applied") == applied


async def test_an_outcome_that_came_before_a_stop_was_waited_for(api: ApiOverFakes) -> None:
    """What ends the wait there is the answer."""
    api.replies.answer = outcome()
    api.replies.early = True
    response = await api.client.post(SLEEP[1], json=SLEEP[2], headers={"Prefer": "wait=5"})
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=5")
