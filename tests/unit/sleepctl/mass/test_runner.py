"""The sending of a run: what is written when, when it stops, and what a continued run sends."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sleepctl.io.api_client import Answer
from sleepctl.mass.commands import OneCommand
from sleepctl.mass.patient_api import NoAnswerError
from sleepctl.mass.run_file import Head, RunFile
from sleepctl.mass.runner import LOOK_UP_AFTER_MS, MARKED, MOST_REFUSED, MOST_SILENT, Runner
from sleepctl.mass.targets import Target
from sleepctl.ui.errors import CommandError
from tests.support.times import NOW
from tests.unit.sleepctl.mass.fakes import Tenants, once, problem

MODE = OneCommand("POST", "/api/brain/sleep_mode", {"target_state": "active"})
ACCEPTED = Answer(202, {"status": "accepted"}, {})


class World:
    """Tenants, and the file of a run over all of them."""

    def __init__(self, path: Path, count: int) -> None:
        self.names = [f"t{number}" for number in range(count)]
        self.tenants = Tenants(*self.names)
        self.now = NOW
        self.file = RunFile.create(path, Head("wake", {}, "ops", NOW), map(Target, self.names))
        self._path = path

    def reopen(self) -> None:
        """What another process does."""
        self.file.close()
        opened = RunFile.open(self._path)
        assert opened is not None
        self.file = opened

    def runner(self, advance: Callable[[], object] = lambda: None) -> Runner:
        return Runner(self.file, MODE, self.tenants, lambda: self.now, advance)

    def send(self) -> None:
        asyncio.run(self.runner().run())

    def stop_after(self, calls: int) -> None:
        """End as a process that is killed: the last calls reach the log, and nobody reads their answers."""

        def kill(*_: object) -> None:
            if len(self.tenants.calls) > calls:
                raise SystemExit(9)

        self.tenants.instead = [kill]
        with pytest.raises(SystemExit):
            self.send()
        self.tenants.instead = []
        self.reopen()

    def sent(self) -> list[str | None]:
        return [call[2] for call in self.tenants.calls]


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[[int], World]]:
    """Make a world with so many tenants."""
    made: list[World] = []

    def make(count: int) -> World:
        made.append(World(tmp_path / "wake.jsonl", count))
        return made[-1]

    yield make
    for each in made:
        each.file.close()


def test_each_tenant_gets_its_command_once(worlds: Callable[[int], World]) -> None:
    """And the bar moves once for each."""
    moved: list[None] = []
    small = worlds(200)
    asyncio.run(small.runner(lambda: moved.append(None)).run())
    assert small.tenants.applied == dict.fromkeys(small.names, 1)
    assert (small.file.done, len(moved)) == (200, 200)


def test_a_mark_is_written_before_what_it_covers_is_sent(worlds: Callable[[int], World]) -> None:
    """Each request is below the last mark at that time."""
    small = worlds(MARKED + 10)
    wrong: list[str | None] = []

    def check(_method: str, _path: str, tenant: str | None) -> None:
        if small.file.sent_at(small.names.index(str(tenant))) is None:
            wrong.append(tenant)

    small.tenants.instead = [check]
    small.send()
    assert wrong == []
    assert small.file.sent_at(MARKED + 9) == NOW


def test_a_run_that_is_killed_twice_ends_as_one_that_is_not(worlds: Callable[[int], World]) -> None:
    """No answered command is sent again, and none is applied twice."""
    small = worlds(300)
    small.stop_after(80)
    answered = set(small.names) - {small.names[index] for index in small.file.unanswered()}
    assert 0 < len(answered) <= 80
    before = len(small.tenants.calls)
    small.stop_after(before + 100)
    assert not answered & set(small.sent()[before:])
    small.send()
    assert small.tenants.applied == dict.fromkeys(small.names, 1)
    assert (small.file.done, list(small.file.unanswered())) == (300, [])


def test_after_an_hour_only_what_was_perhaps_sent_is_looked_up(worlds: Callable[[int], World]) -> None:
    """The rest was certainly not."""
    small = worlds(MARKED + 100)
    small.stop_after(80)
    left = set(small.file.unanswered())
    small.now += LOOK_UP_AFTER_MS
    small.tenants.calls.clear()
    small.send()
    looked_up = {call[2] for call in small.tenants.calls if call[0] == "GET"}
    assert looked_up == {small.names[index] for index in left if index < MARKED}
    assert small.tenants.applied == dict.fromkeys(small.names, 1)


def test_with_a_clock_that_went_back_everything_perhaps_sent_is_looked_up(worlds: Callable[[int], World]) -> None:
    """The age of a mark from another clock is not known."""
    small = worlds(100)
    small.stop_after(50)
    small.now -= 1
    small.send()
    assert "GET" in {call[0] for call in small.tenants.calls}
    assert small.tenants.applied == dict.fromkeys(small.names, 1)


def test_before_an_hour_nothing_is_looked_up(worlds: Callable[[int], World]) -> None:
    """The log recognises the id."""
    small = worlds(100)
    small.stop_after(50)
    small.now += LOOK_UP_AFTER_MS - 1
    small.send()
    assert {call[0] for call in small.tenants.calls} == {"POST"}


def test_an_outcome_that_is_not_known_is_asked_for_again(worlds: Callable[[int], World]) -> None:
    """At the end, with the same id."""
    small = worlds(3)
    small.tenants.instead = [once(ACCEPTED, times=2)]
    small.send()
    assert small.file.done == 3
    assert len(small.tenants.calls) == 5


def test_what_stays_unknown_is_left_for_the_next_call(worlds: Callable[[int], World]) -> None:
    """It is no answer."""
    small = worlds(2)
    small.tenants.instead = [once(ACCEPTED, times=100)]
    small.send()
    assert list(small.file.unanswered()) == [0, 1]
    assert len(small.tenants.calls) == 4


def test_an_api_that_gives_no_answer_stops_the_run(worlds: Callable[[int], World]) -> None:
    """Soon, and everything can be continued."""
    small = worlds(1_000)

    def away(*_: object) -> None:
        raise NoAnswerError("Redis does not answer")

    small.tenants.instead = [away]
    with pytest.raises(CommandError, match="the API gives no answer: Redis does not answer"):
        small.send()
    assert len(small.tenants.calls) < MOST_SILENT + 64
    small.tenants.instead = []
    small.send()
    assert small.file.done == 1_000


def test_single_tenants_without_an_answer_do_not_stop_it(worlds: Callable[[int], World]) -> None:
    """They are sent to again at the end."""
    small = worlds(100)
    failing = set(small.names[::10])

    def away(_method: str, _path: str, tenant: str | None) -> None:
        if tenant in failing:
            failing.remove(tenant)
            raise NoAnswerError("away")

    small.tenants.instead = [away]
    small.send()
    assert small.file.done == 100


def test_a_run_stops_if_the_first_tenants_are_all_refused(worlds: Callable[[int], World]) -> None:
    """A wrong TTL would be refused a hundred thousand times."""
    small = worlds(1_000)
    small.tenants.instead = [once(problem(422, "ttl_out_of_range", "a pin needs a TTL"), times=10_000)]
    with pytest.raises(
        CommandError, match=r"were all refused, the last one \(t\d+\) with ttl_out_of_range: a pin needs"
    ):
        small.send()
    assert MOST_REFUSED <= small.file.refused < MOST_REFUSED + 64


def test_some_refusals_among_others_do_not_stop_it(worlds: Callable[[int], World]) -> None:
    """They are counted, and not sent again."""
    small = worlds(100)
    small.tenants.instead = [
        lambda _method, _path, tenant: problem(422, "ttl_out_of_range", "no") if str(tenant).endswith("7") else None
    ]
    small.send()
    assert (small.file.done, small.file.refused) == (90, 10)
    small.reopen()
    small.send()
    assert len(small.tenants.calls) == 100


def test_a_token_that_expires_stops_the_run_at_once(worlds: Callable[[int], World]) -> None:
    """The others stay without an answer."""
    small = worlds(1_000)
    small.tenants.instead = [once(problem(401, "invalid_token", "it has expired"), times=10_000)]
    with pytest.raises(CommandError, match="get a new one"):
        small.send()
    assert len(list(small.file.unanswered())) == 1_000
    assert len(small.tenants.calls) <= 64


def test_an_interrupted_run_waits_for_answers_on_their_way(worlds: Callable[[int], World]) -> None:
    """And sends to nobody else."""
    small = worlds(1_000)
    on_their_way = asyncio.Event()

    async def interrupted() -> None:
        call = small.tenants.call

        async def slow(*arguments: object, **more: object) -> Answer:
            await on_their_way.wait()
            return await call(*arguments, **more)  # type: ignore[arg-type]  # passed on

        small.tenants.call = slow  # type: ignore[method-assign]  # as slow as a real one
        task = asyncio.ensure_future(small.runner().run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        on_their_way.set()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted())
    assert small.file.done == 64


def test_a_defect_is_not_hidden(worlds: Callable[[int], World]) -> None:
    """It is raised as it came."""
    small = worlds(3)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    small.tenants.instead = [broken]
    with pytest.raises(ZeroDivisionError):
        small.send()
