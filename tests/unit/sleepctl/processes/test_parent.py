"""A parent, its children, and its pages about all of them."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from sleepctl.processes.parent import FRESH_SECONDS, Parent, exit_status
from sleepctl.ui.errors import WRONG_SETTINGS
from tests.unit.sleepctl.processes.fakes import Started, settled


class Family:
    """A parent that runs, with its children."""

    def __init__(self, count: int = 2) -> None:
        self.started = Started(count)
        self.parent = Parent("api", self.started.slots, lambda: self.started.now)
        self.stop = asyncio.Event()
        self.closed: list[list[signal.Signals]] = []
        self.running = asyncio.create_task(self.parent.run(self.stop, self._close))

    def _close(self) -> None:
        self.closed.append([each for process in self.started.processes for each in process.signals])

    async def page(self, name: str) -> tuple[int, str]:
        """Return a fresh page: its status and its body."""
        self.started.now += 2 * FRESH_SECONDS
        page = await self.parent.page(name)  # type: ignore[arg-type]  # one of the three names
        return page.status, page.body

    async def ended(self) -> int:
        """Stop, and return the exit status."""
        self.stop.set()
        return await self.running


@pytest.fixture
async def family() -> AsyncIterator[Family]:
    """Two children that run."""
    family = Family()
    await family.started.until(2)
    yield family
    family.running.cancel()
    await asyncio.wait([family.running])


async def test_a_stop_asks_every_child_once_and_waits_for_all(family: Family) -> None:
    """The parent's own copy of the listener is closed before the first child ends."""
    first, second = family.started.processes
    first.obeys = second.obeys = False
    family.stop.set()
    await settled()
    assert family.closed == [[]]
    assert first.signals == second.signals == [signal.SIGTERM]
    first.end(0)
    await settled()
    assert not family.running.done()
    second.end(0)
    assert await family.running == 0


async def test_a_child_that_does_not_stop_in_time_is_killed(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the command ends with a status that says so."""
    monkeypatch.setattr("sleepctl.processes.parent.KILL_SECONDS", 0.05)
    family.started.processes[1].obeys = False
    with capture_logs() as logs:
        assert await family.ended() == 1
    assert family.started.processes[1].signals == [signal.SIGTERM, signal.SIGKILL]
    assert [(line["event"], line["tasks"]) for line in logs if line["log_level"] == "error"] == [
        ("processes_not_ended", ["process-2"])
    ]


async def test_a_second_signal_kills_all_children(family: Family) -> None:
    """The event loop cancels the parent then."""
    for process in family.started.processes:
        process.obeys = False
    family.stop.set()
    await settled()
    family.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await family.running
    assert [process.signals[-1] for process in family.started.processes] == [signal.SIGKILL] * 2


async def test_wrong_settings_of_one_child_end_the_command(family: Family) -> None:
    """With the status of wrong settings, and without the other child."""
    family.started.processes[0].end(WRONG_SETTINGS)
    assert await family.running == WRONG_SETTINGS
    assert family.started.processes[1].signals == [signal.SIGTERM]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [([0, 0], 0), ([0, -15], 0), ([0, None], 0), ([0, 1], 1), ([-9, 0], 1), ([1, 2], 2), ([-11], 1)],
)
def test_the_exit_status_is_that_of_the_worst_child(statuses: list[int | None], status: int) -> None:
    """One that was told to stop before it served ended well, as did one that was not there."""
    assert exit_status(statuses) == status


async def test_status_is_whole_only_if_each_process_is(family: Family) -> None:
    """With what each says of itself, or its parent of it."""
    first, second = family.started.processes
    status, body = await family.page("status")
    assert (status, json.loads(body)) == (
        200,
        {
            "status": "ok",
            "processes": [
                {"process": 1, "pid": first.pid, "restarts": 0, "status": "ok"},
                {"process": 2, "pid": second.pid, "restarts": 0, "status": "ok"},
            ],
        },
    )
    for words, expected in ((("ok", "degraded"), (200, "degraded")), (("bad", "degraded"), (503, "bad"))):
        first.status, second.status = words
        status, body = await family.page("status")
        assert (status, json.loads(body)["status"]) == expected
    first.status, second.answers = "ok", False
    status, body = await family.page("status")
    assert (status, json.loads(body)["processes"][1]["finding"]) == (503, "does not answer")


async def test_all_are_ready_if_each_process_is(family: Family) -> None:
    """One that does not answer is not."""
    first, second = family.started.processes
    assert await family.page("readyz") == (200, '{"status":"ready"}')
    second.ready = False
    assert (await family.page("readyz"))[0] == 503
    second.ready, first.answers = True, False
    assert (await family.page("readyz"))[0] == 503


async def test_metrics_count_all_processes_and_never_go_back(family: Family) -> None:
    """Over the end of one, and over a child that does not answer for a moment."""
    first, second = family.started.processes
    first.count, second.count = 3, 4
    _, body = await family.page("metrics")
    assert "events_total 7.0\n" in body
    assert 'sleep_api_processes{state="running"} 2.0\n' in body
    second.answers = False
    assert "events_total 7.0\n" in (await family.page("metrics"))[1]
    first.end(-9)
    third = await family.started.until(3)
    third.count, second.answers = 10, True
    _, body = await family.page("metrics")
    assert "events_total 17.0\n" in body
    assert 'sleep_api_process_restarts_total{process="1"} 1.0\n' in body
    assert 'sleep_api_process_restarts_total{process="2"} 0.0\n' in body


async def test_children_are_asked_ten_times_a_second_at_most(family: Family) -> None:
    """Whoever asks meanwhile gets the same page."""
    first = family.started.processes[0]
    bodies = await asyncio.gather(*(family.parent.page("metrics") for _ in range(5)))
    first.count += 1
    assert {*bodies, await family.parent.page("metrics")} == {bodies[0]}
    family.started.now += 2 * FRESH_SECONDS
    assert await family.parent.page("metrics") != bodies[0]
