"""One child over all its lives."""

import asyncio
import signal

import pytest
from structlog.testing import capture_logs

from schemas.backoff import LONGEST_SECONDS
from sleepctl.processes.pages import Said
from sleepctl.processes.slot import POLL_SECONDS, SILENT_POLLS, STEADY_SECONDS, ending_of
from sleepctl.ui.errors import WRONG_SETTINGS
from tests.unit.sleepctl.processes.fakes import Started, settled


class _NotedBackoff:
    """A wait of nothing that notes when it begins anew."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def next(self) -> float:
        self.steps.append("next")
        return 0.0

    def reset(self) -> None:
        self.steps.append("reset")


async def test_a_child_that_ends_is_started_again_and_this_is_logged() -> None:
    """However it ends, and however often."""
    started = Started(1)
    [slot] = started.slots
    running = asyncio.create_task(slot.run())
    with capture_logs() as logs:
        for life, status in enumerate((-9, 1, 0), start=1):
            (await started.until(life)).end(status)
        last = await started.until(4)
    assert slot.restarts == 3
    assert [line["finding"] for line in logs if line["event"] == "process_ended"] == [
        "ended by signal 9 (Killed)",
        "ended with status 1",
        "ended with status 0",
    ]
    slot.stop()
    await running
    assert last.signals == [signal.SIGTERM]


async def test_a_child_that_cannot_be_started_is_tried_again() -> None:
    """The machine may be out of processes for a moment."""
    started = Started(1)
    started.failures = [OSError("no more processes")]
    [slot] = started.slots
    running = asyncio.create_task(slot.run())
    with capture_logs() as logs:
        await started.until(1)
    assert logs[0]["finding"] == "it cannot be started: OSError: no more processes"
    slot.stop()
    await running


@pytest.mark.parametrize(("lived", "steps"), [(STEADY_SECONDS, ["reset", "next"]), (STEADY_SECONDS - 1, ["next"])])
async def test_only_a_child_that_lived_for_long_is_started_quickly_again(lived: float, steps: list[str]) -> None:
    """One that ends at once, again and again, costs little."""
    started, backoff = Started(1), _NotedBackoff()
    [slot] = started.slots
    slot._backoff = backoff  # type: ignore[assignment]  # noqa: SLF001 - a wait of no time
    running = asyncio.create_task(slot.run())
    process = await started.until(1)
    started.now += lived
    process.end(1)
    await started.until(2)
    assert backoff.steps == steps
    slot.stop()
    await running


async def test_wrong_settings_are_not_tried_again() -> None:
    """Another start would not cure them."""
    started = Started(1)
    [slot] = started.slots
    running = asyncio.create_task(slot.run())
    (await started.until(1)).end(WRONG_SETTINGS)
    await running
    assert (slot.status, len(started.processes)) == (WRONG_SETTINGS, 1)


async def test_a_stop_ends_the_wait_for_another_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """And how an earlier life ended no longer matters."""
    started = Started(1)
    [slot] = started.slots
    monkeypatch.setattr(slot._backoff, "next", lambda: LONGEST_SECONDS)  # noqa: SLF001 - a wait of its own
    running = asyncio.create_task(slot.run())
    (await started.until(1)).end(-9)
    await settled()
    slot.stop()
    await running
    assert (slot.status, slot.restarts) == (None, 0)


async def test_the_counts_of_an_ended_child_are_kept() -> None:
    """Those of its last poll; a sum never goes back."""
    started = Started(1)
    [slot] = started.slots
    running = asyncio.create_task(slot.run())
    first = await started.until(1)
    first.count = 7
    await started.poll()
    assert started.waits[0] == POLL_SECONDS
    first.end(-9)
    second = await started.until(2)
    assert ["events_total 7.0" in text for text in slot.metrics] == [True, False]
    second.count = 1
    await slot.say("metrics")
    second.end(-9)
    await started.until(3)
    assert ["events_total 8.0" in text for text in slot.metrics] == [True, False]
    slot.stop()
    await running


async def test_a_child_that_never_answers_is_killed() -> None:
    """No probe would find it."""
    started = Started(1)
    [slot] = started.slots
    running = asyncio.create_task(slot.run())
    first = await started.until(1)
    for polls in (SILENT_POLLS - 1, SILENT_POLLS):
        first.answers = True
        await started.poll()
        first.answers = False
        for _ in range(polls):
            await started.poll()
        assert bool(first.signals) == (polls == SILENT_POLLS)
    assert first.signals == [signal.SIGKILL]
    await started.until(2)
    slot.stop()
    await running


async def test_what_a_child_does_not_say_its_parent_says() -> None:
    """Whether it starts, does not answer, or has ended."""
    started = Started(1)
    [slot] = started.slots
    assert await slot.say("status") == Said(1, None, 0, "not started", None)
    running = asyncio.create_task(slot.run())
    process = await started.until(1)
    process.answers = False
    assert (await slot.say("status"))[3:] == ("starting", None)
    process.answers = True
    assert (await slot.say("status")).page is not None
    process.answers = False
    assert (await slot.say("status"))[3:] == ("does not answer", None)
    slot.stop()
    await running
    assert (await slot.say("status"))[1:] == (None, 0, "ended with status 0", None)


def test_an_end_is_told_in_words() -> None:
    """By status or by signal, real-time signals too."""
    assert ending_of(3) == "ended with status 3"
    assert ending_of(-15) == "ended by signal 15 (Terminated)"
    assert ending_of(-40).startswith("ended by signal 40")
