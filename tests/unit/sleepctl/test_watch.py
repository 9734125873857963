"""`sleepctl watch`: a stream that is lost and found again, and what is shown of it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from sleepctl.commands.watch import Printer, follow
from sleepctl.io.api_client import ApiClient
from sleepctl.io.event_stream import Event, EventStream, Lost
from sleepctl.ui import change as lines
from sleepctl.ui.errors import CommandError
from sleepctl.ui.watched import Change, Watched
from tests.unit.sleepctl.conftest import Run

NOW = 1_795_334_837_992
DOOR = {"SLEEP_URL": "http://api:8080", "SLEEP_TOKEN": "s3cret"}
RULES = ("rules", {"partition": 0, "partitions": 4, "number": 0, "position": "0:50", "active": {}})


def record(tenant: str, state: str = "freeze", offset: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """As much of a state record as is looked at."""
    return {
        "tenant": tenant,
        "state": state,
        "decided": state,
        "since": NOW + offset,
        "cause": {"kind": "breaker", "key": "db@pod-1"},
        "parameters": {"ends_at": NOW + offset},
        "forecast": [],
        "policy": None,
        "position": f"0:{offset}",
        **changes,
    }


def wakes(at: int, ramp: int = 0) -> list[dict[str, Any]]:
    """A forecast of the end of a sleep."""
    return [{"at": at, "state": "active", "parameters": {"ends_at": at + ramp}}]


def ready(now: int = NOW + 1_000) -> Event:
    """Everything was sent."""
    return Event("ready", {"now": now})


def take(watched: Watched, *events: Event, now: float = 0.0) -> list[tuple[str, str | None, str]]:
    """Let events come, and return the tenants that are shown, with their states."""
    return [_short(change) for event in events for change in watched.take(event, now)]


def _short(change: Change) -> tuple[str, str | None, str]:
    return change.tenant, change.before, change.present.state


def state(*given: Any, **changes: Any) -> Event:  # noqa: ANN401
    """A state."""
    return Event("state", record(*given, **changes))


# What is shown


def test_first_come_those_that_sleep_and_those_that_were_named() -> None:
    """At `ready`, and not before. A name shows a tenant awake too."""
    watched = Watched(["initech", "acme"], None)
    assert take(watched, Event(*RULES), state("acme"), state("globex", "active", policy={})) == []
    assert not watched.live
    assert take(watched, ready()) == [("acme", None, "freeze"), ("initech", None, "active")]
    assert (watched.live, watched.asleep) == (True, 1)


def test_then_each_change_and_nothing_twice() -> None:
    """A renewal changes nothing that is shown; an older record is ignored."""
    watched = Watched([], None)
    take(watched, state("acme", offset=5), ready())
    assert take(watched, state("acme", offset=6, since=NOW + 5)) == []
    assert take(watched, state("acme", "light", offset=4)) == []
    assert take(watched, state("acme", "light", offset=7)) == [("acme", "freeze", "light")]
    assert take(watched, Event("gone", {"tenant": "acme", "position": "0:6"})) == []
    assert take(watched, Event("gone", {"tenant": "acme", "position": "0:8"})) == [("acme", "light", "active")]
    assert take(watched, Event("gone", {"tenant": "acme", "position": "0:9"}), Event("mood", 7)) == []
    assert watched.asleep == 0


def test_a_forecast_change_is_shown_at_its_time_and_once() -> None:
    """The log's time goes on from the last `now`."""
    watched = Watched([], None)
    take(watched, state("acme", forecast=wakes(NOW + 3_000, ramp=500)), ready(NOW + 1_000), now=10.0)
    assert watched.seconds_to_next(10.0) == 2.0
    assert watched.due(11.9) == []
    [change] = watched.due(12.0)
    assert (change.kind, _short(change), change.present.since) == (
        "forecast",
        ("acme", "freeze", "active"),
        NOW + 3_000,
    )
    confirmed = state("acme", "active", offset=9, since=NOW + 3_000, parameters={"ends_at": NOW + 3_500})
    assert take(watched, confirmed, now=12.1) == []
    assert watched.seconds_to_next(12.1) == pytest.approx(0.4)
    assert watched.due(12.6) == []
    assert watched.seconds_to_next(12.6) is None


def test_a_tenant_that_is_awake_for_good_takes_no_memory() -> None:
    """No event comes for it. One with a policy of its own stays listed."""
    watched = Watched([], None)
    asleep = [state(f"t-{number}", forecast=wakes(NOW + 2_000)) for number in range(100)]
    take(watched, *asleep, state("own", "active", policy={}), ready(NOW + 1_000))
    assert len(watched.due(5.0)) == 100
    assert (len(watched._records), watched._shown, watched._order) == (1, {}, [])  # noqa: SLF001 - memory


def test_a_dry_run_of_the_rules_is_shown_once_and_forgotten() -> None:
    """It is not listed, so no event says how it goes on."""
    watched = Watched([], None)
    take(watched, state("acme"), ready())
    assert take(watched, state("acme", "active", offset=2, decided="deep")) == [("acme", "freeze", "active")]
    assert (watched.asleep, take(watched, Event("gone", {"tenant": "acme", "position": "0:9"}))) == (0, [])


def test_an_earlier_end_moves_the_time_and_a_later_one_too() -> None:
    """Whatever the next record says."""
    watched = Watched([], None)
    take(watched, state("acme", forecast=wakes(NOW + 9_000)), ready(NOW))
    take(watched, state("acme", offset=2, since=NOW + 1, forecast=wakes(NOW + 4_000)))
    assert watched.seconds_to_next(0.0) == 4.0
    take(watched, state("acme", offset=3, since=NOW + 1, forecast=wakes(NOW + 8_000)))
    assert watched.due(4.0) == []
    assert [_short(change) for change in watched.due(8.0)] == [("acme", "freeze", "active")]
    assert watched.due(9.0) == []


def test_a_lost_connection_shows_nothing_until_it_is_back() -> None:
    """Also what was forecast for that time."""
    watched = Watched([], None)
    take(watched, state("acme", forecast=wakes(NOW + 2_000)), state("globex"), ready(NOW))
    watched.lose(resumes=True)
    assert (watched.due(5.0), watched.seconds_to_next(5.0), watched.live) == ([], None, False)
    assert take(watched, Event(*RULES), state("initech", "deep", offset=7), now=9.0) == []
    assert take(watched, ready(NOW + 9_000), now=9.0) == [("acme", "freeze", "active"), ("initech", "active", "deep")]


def test_after_a_reset_the_snapshot_tells_who_is_no_longer_listed() -> None:
    """A record that is newer than the snapshot stays."""
    watched = Watched([], None)
    take(watched, state("acme", offset=5), state("globex", offset=60), state("initech"), ready())
    watched.lose(resumes=True)
    take(watched, Event("reset", {"reason": "too_old", "detail": ""}), Event(*RULES), state("initech"))
    watched.lose(resumes=False)
    assert take(watched, Event(*RULES), state("initech"), ready()) == [("acme", "freeze", "active")]


def test_only_changes_from_or_to_a_state_are_shown_where_one_is_given() -> None:
    """And at the beginning only those in it."""
    watched = Watched([], "freeze")
    assert take(watched, state("acme"), state("globex", "deep"), ready()) == [("acme", None, "freeze")]
    assert take(watched, state("globex", "light", offset=2)) == []
    assert take(watched, state("globex", "freeze", offset=3)) == [("globex", "light", "freeze")]
    assert take(watched, state("acme", "light", offset=4)) == [("acme", "freeze", "light")]


def test_a_line_has_what_a_person_asks() -> None:
    """When, who, what, why, and what then."""
    watched = Watched([], None)
    [change] = [
        change
        for event in (state("acme", decided="freeze", forecast=wakes(NOW + 9_000)), ready())
        for change in watched.take(event, 0)
    ]
    assert lines.line(change) == (
        "2026-11-22T08:07:17.993Z  acme  freeze  breaker db@pod-1  → active at 2026-11-22T08:07:26.992Z"
    )
    [change] = watched.take(
        state("acme", "active", offset=2, decided="deep", cause={"kind": "x\x1b", "key": None}, policy={}), 0
    )
    assert lines.line(change).endswith("acme  freeze → active  (dry run: decided deep)  x\\x1b")
    [change] = watched.take(Event("gone", {"tenant": "acme", "position": "0:9"}), 0)
    assert lines.line(change) == "now                       acme  active"
    take(watched, state("acme", offset=10, forecast=wakes(NOW + 9_000)))
    [change] = watched.due(9.0)
    assert lines.line(change) == "2026-11-22T08:07:26.992Z  acme  freeze → active  as was forecast"
    assert change.as_json()["next"] is None
    assert [lines.live(count) for count in (1, 2)] == [
        "-- live: 1 tenant sleeps of those that are watched",
        "-- live: 2 tenants sleep of those that are watched",
    ]


# The stream


class Connections:
    """An API that serves one script after the other; None is a connection that breaks, and a number an error."""

    def __init__(self, *scripts: Any) -> None:  # noqa: ANN401
        self.scripts = list(scripts)
        self.asked: list[httpx.Request] = []
        self.waits: list[float] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        script = self.scripts.pop(0)
        if script is None:
            raise httpx.ConnectError("refused")
        if isinstance(script, int):
            document = {"title": "Not now", "code": "x", "detail": "wait"}
            return httpx.Response(script, json=document, headers={"Retry-After": "7"})
        kind = "text/html" if script == "html" else "text/event-stream; charset=utf-8"
        return httpx.Response(200, headers={"content-type": kind}, content=_body(script))

    async def pause(self, seconds: float) -> None:
        self.waits.append(seconds)


async def _body(script: str) -> AsyncIterator[bytes]:
    for part in script.split("|"):
        if part == "break":
            raise httpx.ReadError("reset by peer")
        yield part.encode()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Connections]:
    """Put these connections at the other end of every client."""

    def put(*scripts: Any) -> Connections:  # noqa: ANN401
        connections = Connections(*scripts)
        monkeypatch.setattr("sleepctl.io.api_client.transport", connections.transport)
        return connections

    return put


async def _events(connections: Connections, count: int) -> list[Event | Lost]:
    found: list[Event | Lost] = []
    async with ApiClient("http://api:8080", "s3cret") as client:
        stream = EventStream(client, "/api/states/events", connections.pause, random.Random(1))
        async for event in stream.events():
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_events_are_read_whatever_the_pieces_are(serve: Callable[..., Connections]) -> None:
    """With comments, several lines of data, and fields of a newer API."""
    script = 'retry: 2000\n\n:\n\neve|nt: ready\nda|ta: {"now":\ndata:1}\nid: 4,0\nnew\n\nevent: time\ndata: 2\n\n'
    connections = serve(script, "")
    found = await _events(connections, 3)
    assert found[:2] == [Event("ready", {"now": 1}), Event("time", 2)]
    assert isinstance(found[2], Lost)
    assert "ended the stream" in found[2].reason
    assert connections.asked[0].headers["accept"] == "text/event-stream"


async def test_a_lost_stream_is_told_at_once_and_resumes_after_its_last_id(serve: Callable[..., Connections]) -> None:
    """An id counts once its event is complete; waits grow, and never are shorter than the API wants."""
    connections = serve("event: a\ndata: 1\nid: 4\n\nevent: b\nid: 5\n|break", None, 503, "event: c\ndata: 3\n\n")
    found = await _events(connections, 5)
    assert [type(each).__name__ for each in found] == ["Event", "Lost", "Lost", "Lost", "Event"]
    assert "ReadError" in found[1].reason  # type: ignore[union-attr] # as above
    assert "Not now: wait (503 x)" in found[3].reason  # type: ignore[union-attr] # as above
    assert [request.headers.get("last-event-id") for request in connections.asked] == [None, "4", "4", "4"]
    assert 0.5 <= connections.waits[0] <= 1 <= connections.waits[1] <= 2
    assert connections.waits[2] == 7


async def test_a_forgotten_id_is_not_sent_again(serve: Callable[..., Connections]) -> None:
    """A `reset` comes with an empty id."""
    connections = serve("event: a\ndata: 1\nid: 4\n\nid:\nevent: reset\ndata: 2\n\n|break", "event: c\ndata: 3\n\n")
    await _events(connections, 4)
    assert [request.headers.get("last-event-id") for request in connections.asked] == [None, None]


@pytest.mark.parametrize(
    ("scripts", "message"),
    [
        ([401], "Not now"),
        ([403], "Not now"),
        ([422], "Not now"),
        (["html"], "without an event stream: is it the API?"),
        ([None], "does not answer: ConnectError: refused; is SLEEP_URL right?"),
        (["event: a\ndata: {\n\n"], "not JSON: is it the API?"),
        (["event: a\ndata: 1\n\n", 401], "Not now"),
    ],
)
async def test_what_will_not_get_better_ends_the_command(
    serve: Callable[..., Connections], scripts: list[Any], message: str
) -> None:
    """A mistake is told at once, and a token that has ended too."""
    with pytest.raises(CommandError, match=message.replace("?", r"\?")):
        await _events(serve(*scripts), 9)


# The command


def _script(*events: tuple[str, Any], identifier: str = "1,2") -> str:
    blocks = [f"event: {name}\ndata: {json.dumps(data)}\n" for name, data in events]
    blocks[-1] += f"id: {identifier}\n"
    return "\n".join(blocks) + "\n"


def test_the_command_says_when_it_is_live_and_when_it_is_not(
    run: Run, serve: Callable[..., Connections], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And shows after a loss what has changed meanwhile. The last answer ends it here."""

    async def at_once(_: float) -> None:
        return None

    monkeypatch.setattr(EventStream.__init__, "__defaults__", (at_once, random.Random(1)))
    first = _script(RULES, ("state", record("acme")), ("ready", {"now": NOW + 1_000}))
    second = _script(RULES, ("state", record("acme", "light", offset=3)), ("ready", {"now": NOW + 2_000}))
    connections = serve(first, 503, second, 403)
    outcome = run("watch", "acme", "globex", "acme", **DOOR)
    assert outcome.out.splitlines() == [
        "2026-11-22T08:07:17.993Z  acme  freeze  breaker db@pod-1",
        "now                       globex  active",
        "-- live: 1 tenant sleeps of those that are watched",
        outcome.out.splitlines()[3],
        "-- not live: Not now: wait (503 x); trying again in 7.0 s",
        "2026-11-22T08:07:17.995Z  acme  freeze → light  breaker db@pod-1",
        "-- live: 1 tenant sleeps of those that are watched",
        outcome.out.splitlines()[7],
    ]
    assert {outcome.out.splitlines()[at][:36] for at in (3, 7)} == {"-- not live: the API ended the strea"}
    assert (outcome.code, "Not now" in outcome.err) == (1, True)
    assert [request.url.params["tenants"] for request in connections.asked] == ["acme,globex"] * 4
    assert [request.headers.get("last-event-id") for request in connections.asked] == [None, "1,2", "1,2", "1,2"]


def test_json_is_a_document_a_line(run: Run, serve: Callable[..., Connections]) -> None:
    """Whether it is live is one too."""
    serve(_script(("state", record("acme")), ("ready", {"now": NOW + 1_000})), 403)
    outcome = run("watch", "--state", "freeze", "--json", **DOOR)
    change, live, lost = map(json.loads, outcome.out.splitlines())
    assert (change["event"], change["tenant"], change["state"], change["before"]) == ("now", "acme", "freeze", None)
    assert live == {"event": "live", "asleep": 1}
    assert (lost["event"], lost["reason"]) == ("not_live", "the API ended the stream")


async def test_a_forecast_change_is_printed_without_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """The command waits for the stream and for the time."""
    clock = iter([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 99.0, 99.0, 99.0, 99.0])
    times: list[float] = []

    def now() -> float:
        times.append(next(clock, 99.0))
        return times[-1]

    class Still:
        last_id = ""

        async def events(self) -> Any:  # noqa: ANN401
            yield Event("state", record("acme", forecast=wakes(NOW + 2_000)))
            yield ready(NOW + 2_000 - 1)
            await asyncio.Event().wait()

    following = asyncio.create_task(follow(Still(), Watched([], None), Printer(json=False), now))  # type: ignore[arg-type] # as much as is used
    async with asyncio.timeout(5):
        while "as was forecast" not in (capsys_text := "".join(capsys.readouterr())):
            await asyncio.sleep(0.001)
    assert "freeze → active" in capsys_text
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a/b",), "the tenant must be 1 to 128 of"),
        (("--state", "asleep"), "--state"),
        (tuple(f"t-{number}" for number in range(201)), "at most 200 tenants"),
        (("--token", ""), "needed: --token or SLEEP_TOKEN"),
    ],
)
def test_a_mistake_is_one_line_and_asks_nothing(
    run: Run, serve: Callable[..., Connections], arguments: tuple[str, ...], message: str
) -> None:
    """Exit status 2."""
    connections = serve()
    outcome = run("watch", *arguments, **DOOR)
    assert (outcome.code, connections.asked) == (2, [])
    assert message in outcome.err
