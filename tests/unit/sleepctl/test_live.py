"""`sleepctl run` over fakes: a worker and an API that only pretend, and topics without records."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.console.sign_in_codes import SignInCodes
from api.serve import Ready
from schemas.settings import Settings
from sleepctl.demo import live
from sleepctl.demo.live import Live
from sleepctl.demo.scenario import Answers, Step, Trip
from sleepctl.demo.services import Embedded
from sleepctl.demo.view import Serving
from sleepctl.io.signing_keys import SigningKey
from sleepctl.ui.errors import CommandError
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import FakeApi, FakeLog, FakeView

UNSEEN = Step("it", Trip("acme", "db", "", "open"), (Answers(200),))
LANES = {"status": "ok", "lanes": [{}, {}, {}, {}]}
SERVICES = Embedded("127.0.0.1:4711", "redis://127.0.0.1:4712/0", SigningKey.generate(), Path("jwks.json"))


class StoppingView(FakeView):
    """A view that stops the system once the scenario is over."""

    def __init__(self, stop: asyncio.Event) -> None:
        super().__init__()
        self._stop = stop

    def serving(self, result: Serving) -> None:
        self.shown.append(("serving", result))
        self._stop.set()


class System:
    """What `Live` starts: how worker and API behave is set by the test."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.view = StoppingView(self.stop)
        self.worker_fails: Exception | None = None
        self.fails_at_its_end: Exception | None = None
        self.ready = True
        self.ended: list[str] = []
        self.sign_in: SignInCodes | None = None

    async def worker(self, _settings: Settings, *, stop: asyncio.Event, ready: asyncio.Event, embedded: bool) -> None:
        assert embedded
        if self.worker_fails is not None:
            raise self.worker_fails
        if self.ready:
            ready.set()
        await stop.wait()
        self.ended.append("worker")
        if self.fails_at_its_end is not None:
            raise self.fails_at_its_end

    async def api(
        self, _settings: Settings, *, stop: asyncio.Event, ready: Ready, embedded: bool, sign_in: SignInCodes
    ) -> None:
        assert embedded
        self.sign_in = sign_in
        ready.url = "http://127.0.0.1:8080"
        ready.set()
        await stop.wait()
        self.ended.append("api")

    async def run(self, *, once: bool) -> Live:
        running = Live(SERVICES, SERVICES.settings(), self.view, once=once)
        await running.run(self.stop)
        return running


async def _no_rows(_: Settings) -> AsyncIterator[dict[str, Any]]:
    await asyncio.Event().wait()
    yield {}


@pytest.fixture
async def system(monkeypatch: pytest.MonkeyPatch, api: Callable[..., FakeApi]) -> System:
    """A system that starts, in which nothing happens."""
    pretended = System()
    api(200, LANES)
    monkeypatch.setattr(live, "serve_worker", pretended.worker)
    monkeypatch.setattr(live, "serve_api", pretended.api)
    monkeypatch.setattr(live, "KafkaLog", lambda _: FakeLog(4))
    monkeypatch.setattr(live, "read_transitions", _no_rows)
    monkeypatch.setattr(live, "STEPS", ())
    return pretended


async def test_once_ends_with_the_scenario(system: System) -> None:
    """With its verdict, and both parts end with it."""
    assert (await system.run(once=True)).unseen == []
    assert system.view.shown[-1] == ("verdict", [])
    assert sorted(system.ended) == ["api", "worker"]


async def test_what_was_not_seen_is_kept_for_the_report(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """It decides the exit status."""
    monkeypatch.setattr(live, "STEPS", (UNSEEN,))
    assert (await system.run(once=True)).unseen == ["HTTP 200 after: it"]


async def test_afterwards_it_serves_until_stopped_and_says_how_to_play(system: System) -> None:
    """Where everything is, and with which token."""
    assert (await system.run(once=False)).unseen == []
    (_, result) = system.view.shown[-1]
    assert (result.url, result.worker_url) == ("http://127.0.0.1:8080", "http://127.0.0.1:8081")
    assert (result.tenant, result.kafka, result.redis, result.partitions) == ("acme", SERVICES.kafka, SERVICES.redis, 4)
    assert [kind for kind, _ in system.view.shown][-2:] == ["verdict", "serving"]
    address, _, code = result.console.partition("code=")
    assert address == "http://127.0.0.1:8080/console/#/?"
    assert system.sign_in is not None
    assert system.sign_in.redeem(code) is not None
    assert system.sign_in.redeem(code) is None


async def test_it_says_so_before_it_serves_where_not_all_was_seen(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person may want to look why."""
    monkeypatch.setattr(live, "STEPS", (UNSEEN,))
    await system.run(once=False)
    (*_, verdict, serving) = system.view.shown
    assert verdict == ("verdict", ["HTTP 200 after: it"])
    assert serving[0] == "serving"


async def test_a_worker_that_does_not_start_is_told(system: System) -> None:
    """The API is stopped."""
    system.worker_fails = OSError("no room")
    with pytest.raises(CommandError, match="the worker ended: OSError: no room"):
        await system.run(once=True)
    assert system.ended == ["api"]


async def test_a_part_that_does_not_stop_cleanly_is_told(system: System) -> None:
    """Nothing is swallowed."""
    system.fails_at_its_end = ValueError("left open")
    with pytest.raises(CommandError, match="the worker did not stop cleanly: ValueError: left open"):
        await system.run(once=True)


async def test_a_system_that_is_never_ready_is_told(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the option that shows more."""
    monkeypatch.setattr(live, "_READY_SECONDS", 0)
    system.ready = False
    with pytest.raises(CommandError, match="not ready after 0 s; try --verbose"):
        await system.run(once=True)


async def test_lanes_that_are_not_there_yet_are_waited_for(
    system: System, api: Callable[..., FakeApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scenario on half of the partitions would lie."""
    fake = api(200, {"status": "ok", "lanes": []})
    monkeypatch.setattr(live, "_READY_SECONDS", 0.01)
    monkeypatch.setattr(live, "_POLL_SECONDS", 0)
    with pytest.raises(CommandError, match="not ready"):
        await system.run(once=True)
    assert str(fake.requests[0].url) == "http://127.0.0.1:8081/status"


async def test_a_stop_before_the_end_leaves_the_scenario_unfinished(system: System) -> None:
    """Whatever it had seen."""
    system.ready = False
    system.stop.set()
    assert (await system.run(once=True)).unseen is None


@pytest.fixture
def _logging() -> Iterator[None]:
    """Leave logging as it was found."""
    root, mode = logging.getLogger(), logging.getLogger("mode")
    before = root.handlers[:], root.level, mode.level
    yield
    root.handlers[:], root.level, mode.level = before
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("json_wanted", [False, True])
def test_run_says_what_embedded_means_which_port_it_took_and_how_it_ended(
    run: Run, monkeypatch: pytest.MonkeyPatch, *, json_wanted: bool
) -> None:
    """For people; for machines only the end."""

    @contextmanager
    def services() -> Iterator[Embedded]:
        yield SERVICES

    async def play(self: Live, _stop: asyncio.Event) -> None:
        self.unseen = []
        seen.append((self._settings.api_port, self._settings.worker_metrics_port))

    seen: list[tuple[int, int]] = []
    monkeypatch.setattr("sleepctl.demo.services.embedded_services", services)
    monkeypatch.setattr(Live, "run", play)
    monkeypatch.setattr("sleepctl.commands.run.free_port", lambda wanted, but=0: max(wanted, but) + 1)
    outcome = run("run", "--once", *(["--json", "--verbose"] if json_wanted else []))
    assert outcome.code == 0
    assert "port 8080 is taken; the API is on 8081" in outcome.err
    assert run("run", "--once", SLEEP_API_PORT="9000", SLEEP_WORKER_METRICS_PORT="9100").code == 0
    assert seen == [(8081, 8082), (9001, 9101)]
    if json_wanted:
        assert json.loads(outcome.out) == {"finished": True, "unseen": []}
    else:
        assert "Nothing survives this process" in outcome.out
        output = " ".join(outcome.out.split())
        assert "Timestamps are the producer's" in output
        assert "at its first use, with four partitions" in output
        assert "its Redis may go on only after SIGKILL" in output
        # The scenario's first line brings the empty one before it.
        assert outcome.out.endswith("It starts in a few seconds.\n")
