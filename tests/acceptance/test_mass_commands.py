"""A wrong mass sleep, and the way out of it: all tenants are pinned awake by a run that is interrupted twice."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic_core import from_json

from tests.services import Namespace, Services
from tests.services.skips import Lacks
from tests.support.administration import assert_fold
from tests.support.installation import ApiClient, Installation
from tests.support.records import sent_breaker

PARTITIONS: Final = 4
TENANTS: Final = int(os.environ.get("SLEEP_TEST_MASS_TENANTS", "2000"))
RATE: Final = str(min(TENANTS / 5, 950.0))
"""So many requests a second leave the time to interrupt a run of the usual size."""
pytestmark = [pytest.mark.once, pytest.mark.needs_kafka(Lacks.TOPICS), pytest.mark.timeout(400 + TENANTS // 50)]

PIN: Final = ("send", "mode", "active", "--override", "--ttl", "3600", "--state", "freeze", "--yes")
STEPS: Final = ((signal.SIGINT, TENANTS // 5), (signal.SIGKILL, TENANTS // 2))
"""How the run is interrupted, each time after so many answers."""


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """One worker, and tenants that all sleep by mistake."""
    async with Installation.open(services, namespace, tmp_path, partitions=PARTITIONS) as opened:
        opened.start("worker")
        await opened.write(sent_breaker(f"tenant-{number}", partitions=PARTITIONS) for number in range(TENANTS))
        await opened.caught_up(120 + TENANTS / 50)
        yield opened


async def _begin(door: ApiClient, *arguments: str) -> Process:
    """Start a command as an operator who has the terminal."""
    return await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("sleepctl"),
        *arguments,
        env={**os.environ, "SLEEP_URL": door.url, "SLEEP_TOKEN": door.token("platform", "sleep:operate")},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )


async def _ended(process: Process) -> tuple[int, str, str]:
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _answered(run: Path) -> dict[int, Any]:
    """The answers in a run's file, by the index of their tenant; a cut line is none."""
    if not run.exists():
        return {}
    values = [from_json(line) for line in run.read_bytes().split(b"\n")[:-1]]
    answers = [value for value in values if isinstance(value, list) and len(value) == 5]
    assert len({value[0] for value in answers}) == len(answers), "no tenant has two answers"
    return {value[0]: value for value in answers}


async def _events(installation: Installation) -> Counter[str]:
    """How many mode commands of each tenant are in the log."""
    counts: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        for record in await installation.read(installation.settings.topics.events, partition):
            event = from_json(record.value or b"")
            counts[event.get("subject", "")] += event["type"] == "sleep.mode.v1"
    return counts


async def _outcomes(installation: Installation) -> tuple[Counter[str], Counter[str]]:
    """The outcomes of mode commands of each tenant in the audit, and the codes of refusals."""
    outcomes: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        for record in await installation.read(installation.settings.topics.transitions, partition):
            row = from_json(record.value or b"")
            if row["event_type"] == "sleep.mode.v1" and row["kind"] == "outcome":
                assert (row["reason"], row["actor"]) == ("run wake", "ops@platform")
                outcomes[row["tenant"]] += 1
            if row["kind"] == "refusal":
                refusals[row["code"]] += 1
    return outcomes, refusals


async def test_a_run_that_is_interrupted_twice_ends_as_one_that_is_not(
    installation: Installation, tmp_path: Path
) -> None:
    """By Ctrl-C, and by the end of its process. Every tenant is pinned awake, by one command."""
    door = await installation.open_door()
    run = tmp_path / "wake.jsonl"
    answered: set[int] = set()
    interruptions: list[tuple[set[int], Counter[str]]] = []
    began = time.monotonic()
    for number, answers in STEPS:
        process = await _begin(door, *PIN, "--run", str(run), "--rate", RATE)
        while not run.exists() or run.read_bytes().count(b',"done",') < answers:
            assert process.returncode is None, await _ended(process)
            await asyncio.sleep(0.05)
        process.send_signal(number)
        code, out, err = await _ended(process)
        if number is signal.SIGINT:
            assert code == 130, err
            assert f"to continue, give the same command with --run {run}: no answered command is sent again" in err
            assert f"run wake: of {TENANTS:,} tenants " in out
        assert answered <= _answered(run).keys()
        answered = set(_answered(run))
        assert answers <= len(answered) < TENANTS
        interruptions.append((answered, await _events(installation)))
    code, out, err = await _ended(await _begin(door, *PIN, "--run", str(run), "--json"))
    assert code == 0, err
    took = time.monotonic() - began
    report = json.loads(out)
    assert (report["tenants"], report["done"], report["codes"]) == (TENANTS, TENANTS, {"done": TENANTS})

    print(f"\n{TENANTS} tenants in {took:.1f} s with two interruptions, {report['seconds']} s of them after the last")
    await installation.caught_up(120 + TENANTS / 50)
    names = {f"tenant-{number}" for number in range(TENANTS)}
    outcomes, refusals = await _outcomes(installation)
    assert outcomes == dict.fromkeys(names, 1), "each command was applied once"
    assert refusals.keys() <= {"duplicate_operation"}, "what was sent again has the same id"
    targets = [from_json(line) for line in run.read_bytes().splitlines()[1 : TENANTS + 1]]
    after = await _events(installation)
    for known, events in interruptions:
        again = [targets[index] for index in known if after[targets[index]] != events[targets[index]]]
        assert again == [], "no answered command was sent again"
    await _assert_awake(door)
    await assert_fold(installation)
    print(f"{after.total() - TENANTS} commands were sent twice")


async def _assert_awake(door: ApiClient) -> None:
    """No tenant sleeps, and each has its pin."""
    code, out, err = await _ended(await _begin(door, "tenants", "--json"))
    assert code == 0, err
    entries = json.loads(out)["tenants"]
    assert Counter(entry["state"] for entry in entries) == {"active": TENANTS}
    assert {(entry["cause"] or {})["kind"] for entry in entries} == {"pin"}


async def test_a_wrong_file_sends_nothing_and_says_how_to_go_on(installation: Installation, tmp_path: Path) -> None:
    """An unknown tenant, a wrong line, and the same tenant twice: each by its line."""
    door = await installation.open_door()
    before = await installation.length(installation.settings.topics.events)
    file = tmp_path / "tenants.txt"
    file.write_text("tenant-1\ntenant 2\ntenant-1\n")
    code, out, err = await _ended(await _begin(door, "send", "cancel", "--file", str(file), "--yes", "--run", "x"))
    assert (code, out) == (2, "")
    assert "line 3: tenant tenant-1 is on line 1 already" in err
    code, out, err = await _ended(await _begin(door, *PIN[:6], "--file", str(file), "--yes"))
    assert (code, out) == (2, "")
    assert "line 2: more than one tenant\n  line 3: tenant tenant-1 is on line 1 already" in err
    file.write_text("tenant-1\nnobody\n")
    code, out, err = await _ended(await _begin(door, *PIN[:6], "--file", str(file), "--yes"))
    assert (code, out) == (2, "")
    assert "1 wrong lines, and nothing was sent" in err
    assert "line 2: tenant nobody is unknown" in err
    assert await installation.length(installation.settings.topics.events) == before
