"""Ctrl-C while modules load."""

import signal

import pytest

from sleepctl.runtime.loading import loading


def test_ctrl_c_takes_effect_behind_what_loads() -> None:
    """Within an import it could be swallowed, or become an error of the module."""
    steps = []

    def load() -> None:
        with loading():
            signal.raise_signal(signal.SIGINT)
            steps.append("loaded")

    with pytest.raises(KeyboardInterrupt):
        load()
    assert steps == ["loaded"]


def test_without_ctrl_c_nothing_changes() -> None:
    """The handler of before is back."""
    before = signal.getsignal(signal.SIGINT)
    with loading():
        pass
    assert signal.getsignal(signal.SIGINT) is before
