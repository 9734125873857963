"""The four hot requests are answered as recorded: answers, log lines, what is published, and what it costs."""

import pytest

from tests.unit.api.application import ApiOverFakes
from tests.unit.api.hot.answers import RECORDING, recorded
from tests.unit.api.hot.cases import CASES
from tests.unit.api.hot.served import served

REFUSALS = {400, 401, 403, 409, 412, 413, 415, 422, 429, 503}


@pytest.mark.parametrize("name", CASES)
async def test_a_hot_request_is_answered_as_recorded(
    api: ApiOverFakes, name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Where a change of an answer is wanted, `python -m tests.unit.api.hot` records it, and the diff shows it."""
    answer = await served(api, CASES[name], monkeypatch)
    if (recording := request.config.stash.get(RECORDING, None)) is not None:
        recording[name] = answer
    else:
        assert answer == recorded()[name]


def test_each_recorded_answer_has_its_case() -> None:
    """And each case its answer."""
    assert list(recorded()) == list(CASES)


@pytest.mark.parametrize("request_name", ["sleep", "mode", "show", "emit"])
def test_every_refusal_of_a_hot_request_is_in_the_table(request_name: str) -> None:
    """By its status. A conflict, a precondition and a body are of commands only."""
    statuses = {answer["status"] for name, answer in recorded().items() if name.startswith(f"{request_name}:")}
    missing = {"show": {409, 412, 413, 415}, "emit": {409, 412}}.get(request_name, set())
    assert REFUSALS - statuses == missing
