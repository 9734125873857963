"""`sleepctl tenants`, and a breaker event posted to the API."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from schemas.wire.cloudevents import parse
from schemas.wire.events import BreakerEvent
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import FakeApi, FakeLog

DOOR = {"SLEEP_URL": "http://api:8080", "SLEEP_TOKEN": "s3cret"}
COUNTS = {"active": 1, "light": 0, "deep": 0, "freeze": 2}
Pages = Callable[..., list[httpx.Request]]


def entry(tenant: str, state: str = "freeze", **changes: object) -> dict[str, Any]:
    """A tenant in the API's list."""
    seen: dict[str, Any] = {
        "tenant_id": tenant,
        "state": state,
        "since": 1_795_334_837_992,
        "cause": {"kind": "breaker", "key": "payments@pod-1"},
        "forecast": [{"at": 1_795_334_897_992, "state": "light"}, {"at": 1_795_334_937_992, "state": "active"}],
    }
    return seen | changes


def page(cursor: str | None, *entries: dict[str, Any]) -> dict[str, Any]:
    """A page of the API's list."""
    return {"tenants": list(entries), "counts": COUNTS, "open_ended": 1, "cursor": cursor, "now": 1_795_334_838_000}


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Pages:
    """Put an API with these pages at the other end of every client, and return what it is asked."""

    def put(*answers: dict[str, Any]) -> list[httpx.Request]:
        asked: list[httpx.Request] = []
        left = iter(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200, json=next(left))

        monkeypatch.setattr("sleepctl.io.api_client.transport", lambda: httpx.MockTransport(answer))
        return asked

    return put


def test_every_page_is_asked_for_and_each_tenant_shown_once(run: Run, pages: Pages) -> None:
    """A line each, as it is known; the numbers go to stderr, where they spoil no pipe."""
    awake = entry("globex", "active", cause=None, forecast=[])
    hold = entry("initech", cause={"kind": "hold_ended", "key": None})
    asked = pages(page("0-7", entry("acme"), awake), page("1-0"), page(None, entry("acme"), hold))
    outcome = run("tenants", **DOOR)
    assert [dict(request.url.params) for request in asked] == [
        {"limit": "1000"},
        {"limit": "1000", "cursor": "0-7"},
        {"limit": "1000", "cursor": "1-0"},
    ]
    assert {request.headers["authorization"] for request in asked} == {"Bearer s3cret"}
    lines = [line.split() for line in outcome.out.splitlines()]
    since, later = "2026-11-22T08:07:17.992Z", "2026-11-22T08:08:17.992Z"
    assert lines == [
        ["acme", "freeze", since, "breaker", "payments@pod-1", "→", "light", "at", later],
        ["globex", "active", since],
        ["initech", "freeze", since, "hold_ended", "→", "light", "at", later],
    ]
    assert outcome.code == 0
    assert outcome.err == "3 shown; of all tenants active 1, light 0, deep 0, freeze 2; 1 without an end\n"


def test_what_is_looked_for_is_left_to_the_api(run: Run, pages: Pages) -> None:
    """A state, or those without an end."""
    asked = pages(page("0-7"), page(None, entry("acme")))
    run("tenants", "--state", "freeze", "--open-ended", **DOOR)
    for request in asked:
        assert (request.url.params["state"], request.url.params["open_ended"]) == ("freeze", "true")


def test_all_pages_are_one_document_where_json_is_wanted(run: Run, pages: Pages) -> None:
    """With the counts of the last."""
    pages(page("0-7", entry("acme")), page(None, entry("acme"), entry("globex")))
    outcome = run("tenants", "--json", **DOOR)
    expected = {"tenants": [entry("acme"), entry("globex")], "counts": COUNTS, "open_ended": 1}
    assert (json.loads(outcome.out), outcome.err) == (expected, "")


def test_a_list_that_would_never_end_is_left(run: Run, pages: Pages) -> None:
    """The same cursor twice is a defect of the API."""
    pages(page("0-7"), page("0-7"))
    outcome = run("tenants", **DOOR)
    assert outcome.code == 1
    assert "the same cursor twice" in outcome.err


def test_a_token_that_may_not_list_is_told_so(run: Run, api: Callable[..., FakeApi]) -> None:
    """As any other problem, in words or in JSON."""
    problem = {"title": "Policy does not allow this", "detail": "no role", "code": "forbidden"}
    api(403, problem)
    outcome = run("tenants", **DOOR)
    assert (outcome.code, outcome.err) == (1, "sleepctl: Policy does not allow this: no role (403 forbidden)\n")
    assert json.loads(run("tenants", "--json", **DOOR).err.removeprefix("sleepctl: ")) == problem


def test_without_a_token_nothing_is_asked(run: Run, pages: Pages) -> None:
    """Exit status 2."""
    asked = pages()
    assert run("tenants", SLEEP_TOKEN="").code == 2
    assert asked == []


def test_a_breaker_event_is_posted_where_a_url_is_given(run: Run, api: Callable[..., FakeApi], log: FakeLog) -> None:
    """As a structured CloudEvent whose subject is the tenant; Kafka is left alone."""
    fake = api(202, {"accepted": 1})
    outcome = run(
        *("send", "breaker", "open", "--tenant", "acme", "--name", "db", "--instance", "pod-1"),
        *("--occurred-at", "5", "--url", "http://api:8080", "--json"),
        SLEEP_TOKEN="s3cret",
    )
    (request,) = fake.requests
    assert (request.method, request.url.path) == ("POST", "/api/breakers/events")
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert "x-tenant-id" not in request.headers
    event = parse(request.content)
    assert isinstance(event, BreakerEvent)
    assert (event.subject, event.data.breaker, event.data.instance, event.data.state) == ("acme", "db", "pod-1", "open")
    assert event.data.occurred_at == 5
    assert (outcome.code, outcome.out, outcome.err, log.records) == (0, '{"accepted":1}\n', "", [])


def test_the_url_of_the_environment_does_not_turn_an_emitter_away_from_kafka(run: Run, log: FakeLog) -> None:
    """Only the option does."""
    assert run("send", "breaker", "open", "--tenant", "acme", "--name", "db", **DOOR).code == 0
    assert len(log.records) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "db", "--direct"), "either --url or --direct"),
        (("--name", "a@b"), "--name must be free of @ and control characters"),
    ],
)
def test_a_wrong_breaker_event_is_never_posted(
    run: Run, api: Callable[..., FakeApi], arguments: tuple[str, ...], message: str
) -> None:
    """Exit status 2."""
    fake = api(202, {"accepted": 1})
    outcome = run("send", "breaker", "open", "--tenant", "acme", *arguments, "--url", "http://api", **DOOR)
    assert (outcome.code, fake.requests) == (2, [])
    assert message in outcome.err
