"""The health of a lane: an outage is reported once and waited out, and a lane that has stopped stays stopped."""

import random

import pytest
import structlog
from structlog.testing import capture_logs

from worker.partition.health import LaneHealth


class Clock:
    """A clock whose sleeps end at once."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []

    def now(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)


@pytest.fixture
def clock() -> Clock:
    """The clock of the lane."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> LaneHealth:
    """The health of a lane that has not started yet."""
    return LaneHealth(clock, random.Random(1), structlog.get_logger("test"))


def test_a_new_lane_reports_that_it_is_starting(health: LaneHealth) -> None:
    """A partition that nobody works on is never shown as healthy."""
    assert (health.problem, health.stopped) == ("starting", False)
    with capture_logs() as logs:
        health.started(7)
    assert (health.problem, logs) == (None, [])


async def test_an_outage_is_logged_at_its_start_and_its_end(health: LaneHealth) -> None:
    """Its last reason is shown while it lasts."""
    with capture_logs() as logs:
        for reason in ("Kafka is away", "Kafka is away", "Redis is away"):
            await health.wait(reason)
            assert health.problem == reason
        health.recovered(7)
    assert health.problem is None
    assert [(line["event"], line.get("reason"), line.get("position")) for line in logs] == [
        ("waiting", "Kafka is away", None),
        ("recovered", None, 7),
    ]


async def test_waits_double_and_start_short_again_after_a_recovery(health: LaneHealth, clock: Clock) -> None:
    """From 0.1 to 5 seconds, each between a half of that and the whole."""
    for _ in range(8):
        await health.wait("Kafka is away")
    bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert all(bound / 2 <= sleep <= bound for sleep, bound in zip(clock.sleeps, bounds, strict=True))
    health.recovered(7)
    await health.wait("Kafka is away")
    assert clock.sleeps[-1] <= 0.1


async def test_a_start_where_the_last_batch_failed_does_not_end_the_outage(health: LaneHealth) -> None:
    """Redis answers there, and the batch may fail again: only a batch that is committed shows that all is well."""
    problems: list[str | None] = []
    await health.wait("Kafka is away", failed_at=5)
    health.started(5)
    problems.append(health.problem)
    await health.wait("Redis is away")
    health.started(5)
    problems.append(health.problem)
    health.recovered(9)
    await health.wait("Redis is away")
    health.started(5)
    problems.append(health.problem)
    assert problems == ["Kafka is away", "Redis is away", None]


async def test_a_start_at_another_position_ends_the_outage(health: LaneHealth) -> None:
    """Somebody has moved the partition meanwhile."""
    await health.wait("Kafka is away", failed_at=5)
    health.started(6)
    assert health.problem is None


@pytest.mark.parametrize("failed", [True, False])
async def test_a_stopped_lane_keeps_its_reason(health: LaneHealth, clock: Clock, *, failed: bool) -> None:
    """The batch that is under way may still end, well or in an outage."""
    with capture_logs() as logs:
        if failed:
            health.fail(RuntimeError("a bug of ours"))
        else:
            health.stop("run `sleepctl rebuild`")
        health.recovered(9)
        await health.wait("Kafka is away")
    assert (health.stopped, clock.sleeps) == (True, [])
    expected = "the lane failed: RuntimeError('a bug of ours'); see the log, then restart the worker"
    assert health.problem == (expected if failed else "run `sleepctl rebuild`")
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("lane_failed" if failed else "lane_stopped", "error")
    ]
