"""Everything fails at once, on services of its own, and nothing is lost, repeated or told otherwise than it is."""

import random
from pathlib import Path

import pytest

from tests.faults.chaos import opened
from tests.faults.schedule import LEAST_SECONDS, Kind, schedule
from tests.services import Lacks, Services, start_services

SEED = 20_261


@pytest.mark.smoke
@pytest.mark.needs_kafka(Lacks.DELETING)
@pytest.mark.timeout(300)
async def test_under_every_kind_of_fault_records_are_the_fold_and_answers_are_true(
    services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One round of the schedule; `make chaos` runs more of them."""
    steps = schedule(SEED, LEAST_SECONDS)
    plan = "\n".join(map(str, steps))
    print(f"seed {SEED}, logs in {tmp_path}, schedule:\n{plan}")
    # The other tests' services stay as they are.
    with start_services(services.kind) as own:
        async with opened(own, tmp_path, steps, SEED) as chaos:
            summary = await chaos.run(print)
    with capsys.disabled():
        print(f"\nchaos, seed {SEED}, {LEAST_SECONDS:g} s: {summary}")
    assert set(summary.faults) == set(Kind)
    assert summary.events > 2_000
    assert summary.lost_bytes > 0
    assert summary.refused > 0
    assert summary.rebuilt > 0
    assert summary.refolded > 0


def test_a_schedule_is_the_same_again_and_has_every_kind_of_fault_in_each_round() -> None:
    """Its seed and its length make it."""
    steps = schedule(7, 180)
    assert steps == schedule(7, 180)
    assert steps != schedule(8, 180)
    for begin in (0, 60, 120):
        assert {step.kind for step in steps if begin <= step.at < begin + 60} == set(Kind)


def test_a_run_that_is_too_short_for_every_kind_is_refused() -> None:
    """Rather than being a run without some of them."""
    with pytest.raises(ValueError, match="too few"):
        schedule(random.randrange(100), LEAST_SECONDS - 1)
