"""Ctrl-C at any moment of `sleepctl run`, and a second one."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sleepctl.runtime.event_loop import AT_ONCE_SECONDS, STOP_SECONDS
from tests.support.command import Running

# Seconds after the first line. With the old stop about 2 of 12 processes hung for ever.
MOMENTS = (0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0)


def _interrupted(folder: Path, moment: float) -> tuple[int, str]:
    with Running("run", "--port", "0", "--worker-port", "0", folder=folder) as process:
        process.wait_for("Everything runs embedded", 30)
        time.sleep(moment)
        return process.interrupt(STOP_SECONDS + 10), process.told


@pytest.mark.timeout(300)
def test_ctrl_c_ends_run_whenever_it_comes(tmp_path: Path) -> None:
    """In a time that is bounded, with a line and without a traceback."""
    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(lambda moment: _interrupted(tmp_path, moment), MOMENTS))
    for moment, (code, output) in zip(MOMENTS, ends, strict=True):
        # 130 before the event loop runs; 1 before the scenario ended; 0 once it had. A process that is just ending by
        # itself ends by the signal, which a shell shows as 130 too.
        assert code in (130, 1, 0, -signal.SIGINT), (moment, code, output)
        assert "Traceback" not in output, (moment, output)
        assert "a defect" not in output, (moment, output)
        assert "by force" not in output, (moment, output)


def test_a_second_ctrl_c_ends_run_at_once(tmp_path: Path) -> None:
    """And says so, unless the first had ended it already."""
    with Running("run", "--port", "0", "--worker-port", "0", folder=tmp_path) as process:
        process.wait_for("acme is", 60)
        process.process.send_signal(signal.SIGINT)
        code = process.stop(signal.SIGINT, AT_ONCE_SECONDS + 10)
        assert code in (130, 1)
        assert ("second signal" in process.told) == (code == 130), process.told
    assert "Traceback" not in process.told


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.03])
def test_ctrl_c_counts_where_a_script_started_it_beside_itself(tmp_path: Path, moment: float) -> None:
    """Such a shell has SIGINT ignored, and the command begins so."""
    with Running("run", "--port", "0", "--worker-port", "0", folder=tmp_path, ignores=["INT"]) as process:
        process.wait_for("Everything runs embedded", 30)
        time.sleep(moment)
        assert process.interrupt(STOP_SECONDS + 10) in (130, 1, -signal.SIGINT), process.told


def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path: Path) -> None:
    """SIGTERM does."""
    with Running("run", "--port", "0", "--worker-port", "0", folder=tmp_path, ignores=["HUP"]) as process:
        process.wait_for("acme is", 60)
        process.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert process.process.poll() is None
        assert process.stop(signal.SIGTERM, STOP_SECONDS + 10) in (0, 1), process.told
        assert "second signal" not in process.told
