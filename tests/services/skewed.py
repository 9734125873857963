"""`sleepctl` on a machine whose clock is wrong: `python -m tests.services.skewed SECONDS COMMAND…`.

The wall clock of the process is moved before anything of ours is imported; its monotonic clock is not.
"""

import sys
import time

_NS = 1_000_000_000


def main() -> None:
    """Move the clock by the first argument, and run the command in the others."""
    skew = int(sys.argv.pop(1))
    true, true_ns = time.time, time.time_ns
    time.time = lambda: true() + skew
    time.time_ns = lambda: true_ns() + skew * _NS
    from sleepctl.main import app  # noqa: PLC0415 - after the clock was moved

    app()


if __name__ == "__main__":
    main()
