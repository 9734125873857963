"""A certified OpenID provider as a process, which signs readers of the console in."""

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.services import jars
from tests.services.skips import pass_over

SOURCE: Final = Path(__file__).parents[1] / "services" / "oidc"
AUDIENCE: Final = "urn:sleep:test"
CLIENT: Final = "sleep-console"
SCOPES: Final = ("sleep:read", "sleep:write", "sleep:policy", "sleep:override", "sleep:read-any", "sleep:operate")
_FILES: Final = ("package.json", "package-lock.json")
_NPM_SECONDS: Final = 120.0
_START_SECONDS: Final = 30.0


async def installed() -> Path:
    """Return the folder with the provider's packages, by the lock; npm fills it once.

    Skips the test where there is no npm; in CI it fails.
    """
    if shutil.which("node") is None or (npm := shutil.which("npm")) is None:
        pass_over("needs node and npm, which get an OpenID provider")
    lock = sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = jars.cache_folder() / f"oidc-{lock}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            shutil.copy(SOURCE / name, folder)
        command = (npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
        process = await asyncio.create_subprocess_exec(*command, cwd=folder)
        async with asyncio.timeout(_NPM_SECONDS):
            assert await process.wait() == 0, f"npm ci failed in {folder}"
        (folder / "complete").touch()
    return folder


class Provider:
    """A running provider.

    Attributes:
        issuer: its name, which is its address.
        renewals: how many times an access token was renewed.
    """

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.issuer = f"http://127.0.0.1:{port}"
        self.renewals = 0
        self._reading = asyncio.create_task(self._read())
        self.ready = asyncio.Event()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if not line.startswith(b"{"):
                continue  # advice of the library
            said = json.loads(line)
            self.renewals = said.get("renewals", self.renewals)
            if "serves" in said:
                self.ready.set()

    def close_accounts(self) -> None:
        """Let it know nobody any more, so that it renews no token."""
        self._process.send_signal(signal.SIGUSR2)

    async def stop(self) -> None:
        """End the process."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    def environment(self) -> dict[str, str]:
        """Return the settings of an API whose tokens are this provider's."""
        return {
            "SLEEP_CONSOLE_OIDC_ISSUER": self.issuer,
            "SLEEP_CONSOLE_OIDC_CLIENT_ID": CLIENT,
            "SLEEP_JWT_JWKS": f"{self.issuer}/jwks",
            "SLEEP_JWT_ISSUER": self.issuer,
            "SLEEP_JWT_AUDIENCE": AUDIENCE,
        }


@asynccontextmanager
async def provided(port: int, redirects: Sequence[str], *, ttl: int) -> AsyncIterator[Provider]:
    """Start a provider, and end it.

    Args:
        port: its port.
        redirects: the addresses of consoles.
        ttl: how long an access token lives, in seconds.
    """
    folder = await installed()
    program = folder / "provider.mjs"
    shutil.copy(SOURCE / program.name, program)
    options = {"port": port, "audience": AUDIENCE, "redirects": list(redirects), "ttl": ttl, "scopes": list(SCOPES)}
    process = await asyncio.create_subprocess_exec(
        "node",
        str(program),
        json.dumps(options),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"NODE_ENV": "test", "PATH": str(Path(shutil.which("node") or "node").parent)},
    )
    provider = Provider(process, port)
    try:
        async with asyncio.timeout(_START_SECONDS):
            await provider.ready.wait()
        yield provider
    finally:
        await provider.stop()
