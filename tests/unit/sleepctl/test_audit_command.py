"""`sleepctl audit`."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from schemas.clock import now_ms
from sleepctl.commands import audit as command
from sleepctl.io.api_client import Answer
from sleepctl.io.times import time_in
from sleepctl.ui.audit_row import line
from sleepctl.ui.errors import CommandError
from tests.unit.api.rows_topic import row
from tests.unit.sleepctl.conftest import Run

DOOR = {"SLEEP_URL": "http://api:8080", "SLEEP_TOKEN": "s3cret"}
NOW = 1_795_334_837_992
BUSY = {"title": "Overloaded", "detail": "try again", "code": "overloaded"}
Answers = Callable[..., list[httpx.Request]]


def page(*rows: dict[str, Any], cursor: str | None = None, until: int | None = None, unreadable: int = 0) -> Any:  # noqa: ANN401
    """A page of the API."""
    return {"rows": [*rows], "cursor": cursor, "searched_until": until, "unreadable": unreadable}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Put an API with these answers at the other end of every client, and return what it is asked."""

    async def at_once(_: float) -> None:
        return None

    def put(*documents: Any) -> list[httpx.Request]:  # noqa: ANN401
        asked: list[httpx.Request] = []
        left = iter(documents)

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            document = next(left)
            return httpx.Response(503 if document is BUSY else 200, json=document, headers={"Retry-After": "1"})

        monkeypatch.setattr("sleepctl.io.api_client.transport", lambda: httpx.MockTransport(answer))
        monkeypatch.setattr(command, "pages", lambda *given, **named: PAGES(*given, **named, pause=at_once))
        return asked

    return put


PAGES = command.pages


def test_each_row_is_a_line_and_the_end_says_how_far_it_searched(run: Run, answers: Answers) -> None:
    """The newest first, as the API sends them."""
    asked = answers(
        page(row("acme", 5, actor=None, cause={"kind": "breaker", "key": "db@pod-1"}), cursor="3.5", until=NOW + 5),
        page(row("acme", 4, kind="refusal", code="ttl_out_of_range", reason="night")),
    )
    outcome = run("audit", "acme", **DOOR)
    assert outcome.out.splitlines() == [
        "2026-11-22T08:07:17.997Z  acme  active → deep  breaker db@pod-1",
        "2026-11-22T08:07:17.996Z  acme  refused ttl_out_of_range  sleep, by ops@acme: night",
    ]
    assert (outcome.code, outcome.err) == (0, "2 rows; all that is kept was searched\n")
    assert [dict(request.url.params) for request in asked] == [
        {"tenant": "acme", "limit": "100"},
        {"tenant": "acme", "limit": "100", "cursor": "3.5"},
    ]
    assert {request.headers["authorization"] for request in asked} == {"Bearer s3cret"}


def test_what_is_looked_for_is_left_to_the_api(run: Run, answers: Answers) -> None:
    """Without a tenant it is about all."""
    asked = answers(page(until=NOW))
    options = ("--from", "2026-11-22T08:00:00Z", "--to", "1795334837992", "--kind", "refusal", "--actor", "a&b")
    outcome = run("audit", *options, **DOOR)
    params = dict(asked[0].url.params)
    assert params == {"from": "1795334400000", "to": str(NOW), "kind": "refusal", "actor": "a&b", "limit": "100"}
    assert outcome.err == "0 rows; searched from 2026-11-22T08:07:17.992Z on\n"


def test_json_is_a_row_a_line_as_the_api_sends_it(run: Run, answers: Answers) -> None:
    """Nothing goes to stderr."""
    rows = [row("acme", 5), row("acme", 4)]
    answers(page(rows[0], cursor="3.5", until=NOW), page(rows[1]))
    outcome = run("audit", "acme", "--json", **DOOR)
    assert ([json.loads(each) for each in outcome.out.splitlines()], outcome.err) == (rows, "")


def test_a_limit_ends_the_search_and_says_how_to_see_more(run: Run, answers: Answers) -> None:
    """0 is no limit."""
    asked = answers(page(*(row("acme", event) for event in (5, 4, 3)), cursor="3.3", until=NOW + 3))
    outcome = run("audit", "acme", "--limit", "2", **DOOR)
    assert len(outcome.out.splitlines()) == 2
    assert outcome.err == "2 rows, from 2026-11-22T08:07:17.995Z on; --limit 20 shows more\n"
    assert len(asked) == 1
    answers(page(cursor="1.1", until=NOW), page(row("acme", 1)))
    assert run("audit", "acme", "--limit", "0", **DOOR).err == "1 row; all that is kept was searched\n"


def test_a_row_that_comes_again_in_a_later_page_is_shown_once(
    run: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that died wrote it again. Memory stays bounded."""
    answers(page(row("acme", 5), row("acme", 4), cursor="3.5", until=NOW), page(row("acme", 5), row("acme", 3)))
    assert len(run("audit", "acme", **DOOR).out.splitlines()) == 3
    monkeypatch.setattr(command, "_REMEMBERED", 1)
    answers(page(row("acme", 5), row("acme", 4), cursor="3.5", until=NOW), page(row("acme", 5)))
    assert len(run("audit", "acme", **DOOR).out.splitlines()) == 3


def test_a_busy_api_is_asked_again_some_times(run: Run, answers: Answers) -> None:
    """And then the error says how far the search has come."""
    answers(BUSY, BUSY, page(row("acme", 5)))
    assert run("audit", "acme", **DOOR).code == 0
    asked = answers(page(row("acme", 5), cursor="3.5", until=NOW), *[BUSY] * 5)
    outcome = run("audit", "acme", **DOOR)
    assert (outcome.code, len(asked)) == (1, 6)
    assert "what is shown is complete from 2026-11-22T08:09:17.992Z on; go on with --to 1795334957992" in outcome.err
    answers(*[BUSY] * 5)
    assert "go on with" not in run("audit", "acme", **DOOR).err


def test_records_that_are_no_rows_are_not_passed_over_in_silence(run: Run, answers: Answers) -> None:
    """The list lacks something."""
    answers(page(unreadable=3))
    assert "warning: 3 records are no rows of the audit" in run("audit", "acme", **DOOR).err


def test_a_search_that_would_never_end_is_left(run: Run, answers: Answers) -> None:
    """The same cursor twice is a defect of the API."""
    answers(page(cursor="3.5", until=NOW), page(cursor="3.5", until=NOW))
    outcome = run("audit", **DOOR)
    assert (outcome.code, "the same cursor twice" in outcome.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a/b",), "the tenant must be 1 to 128 of"),
        (("acme", "--from", "yesterday"), "--from 'yesterday' is neither a time such as"),
        (("acme", "--to", "2026-11-30T09:00:00"), "--to '2026-11-30T09:00:00' has no time zone"),
        (("acme", "--to", "9999999999999999"), "--to '9999999999999999' is neither"),
        (("acme", "--from", "1h", "--to", "2h"), "--from must be before --to"),
        (("acme", "--kind", "all"), "--kind"),
        (("acme", "--limit", "-1"), "--limit"),
    ],
)
def test_a_mistake_is_one_line_and_asks_nothing(
    run: Run, answers: Answers, arguments: tuple[str, ...], message: str
) -> None:
    """Exit status 2."""
    asked = answers()
    outcome = run("audit", *arguments, **DOOR)
    assert (outcome.code, asked) == (2, [])
    assert message in outcome.err
    assert run("audit", "acme", SLEEP_TOKEN="").code == 2


def test_times_are_read_as_people_write_them() -> None:
    """A time, how long ago, or milliseconds; never before the epoch."""
    assert [time_in(text, "--from", NOW) for text in ("90m", "1d", "0s", "999999999d")] == [
        NOW - 5_400_000,
        NOW - 86_400_000,
        NOW,
        0,
    ]
    assert time_in("2026-11-22T09:07:17.992+01:00", "--from", NOW) == NOW == time_in(str(NOW), "--to", 0)
    with pytest.raises(CommandError):
        time_in("1w", "--from", now_ms())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"enforced": False}, "active → deep  (dry run)  operation op-1, by ops@acme"),
        ({"cause": None, "actor": None}, "active → deep  sleep"),
        ({"kind": "outcome", "to": "light"}, "done  sleep, decided light, by ops@acme"),
        ({"kind": "note", "event_type": "sleep.new.v2"}, "note  sleep.new.v2, by ops@acme"),
        ({"actor": "a\x1b[2J", "reason": "\u202eb"}, "active → deep  operation op-1, by a\\x1b[2J: \\u202eb"),
    ],
)
def test_a_line_says_what_happened_and_no_text_acts_on_the_terminal(changes: dict[str, Any], expected: str) -> None:
    """Newer kinds are shown too."""
    assert line(row("acme", 0, **changes)) == f"2026-11-22T08:07:17.992Z  acme  {expected}"


async def test_a_wait_that_is_no_number_is_a_second() -> None:
    """And no API makes a command wait for more than a minute."""
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    class Busy:
        async def call(self, *_: str) -> Answer:
            return Answer(429, {"title": "Too many"}, {"retry-after": next(after)})

    after = iter(["5", "soon", "3600", "0", "0"])
    with pytest.raises(CommandError, match="Too many"):
        _ = [each async for each in PAGES(Busy(), {}, 1, json=False, pause=pause)]  # type: ignore[arg-type] # as much as is used
    assert waits == [5, 1, 60, 0]
