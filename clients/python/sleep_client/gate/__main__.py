"""`sleep-gate`: serve by the settings of the environment. Exit status 2 if one is wrong, 1 if it cannot serve."""

import asyncio
import logging
import os
import sys

from sleep_client.gate.settings import SettingsError, read_settings


def main() -> int:
    """Serve until a signal; return the exit status."""
    try:
        settings = read_settings(os.environ)
        # Only here, so that a missing extra is one line, too.
        from sleep_client.gate.serving import serve  # noqa: PLC0415 - as above
    except SettingsError as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:
        return _refuse(f"{error.name} is missing: install somabrain-sleep-client[gate]")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # A line for each request of the reader says nothing.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return 0 if asyncio.run(serve(settings)) else 1
    except ValueError as error:  # Of a variable that names certificates.
        return _refuse(str(error))


def _refuse(text: str) -> int:
    sys.stderr.write(f"sleep-gate: {text}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
