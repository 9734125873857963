"""A Node program that a test drives, with the Node client in it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.services.skips import pass_over

ROOT: Final = Path(__file__).resolve().parents[2]
CLIENT: Final = ROOT / "clients" / "node"
PROGRAM: Final = ROOT / "tests" / "integration" / "node" / "program.mjs"
OLDEST: Final = 20
"""The oldest major version of Node that the client supports."""


async def need_node() -> str:
    """Return the program of Node. Skip the test where there is none that is new enough; in CI fail."""
    node = shutil.which("node")
    if node is None:
        pass_over("node is not installed")
    asked = await asyncio.create_subprocess_exec(node, "--version", stdout=asyncio.subprocess.PIPE)
    version = (await asked.communicate())[0].decode().strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST:
        pass_over(f"node {version} is older than {OLDEST}")
    return node


class NodeError(Exception):
    """What a command threw: the name of the error and its text."""


class NodeProgram:
    """A running program. Commands may wait beside each other.

    Args:
        process: the program.
        token: returns a token each time that the client asks for one.
    """

    def __init__(self, process: asyncio.subprocess.Process, token: Callable[[], str] | None) -> None:
        self._process = process
        self._token = token
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._count = 0

    @classmethod
    @asynccontextmanager
    async def start(
        cls, *, token: Callable[[], str] | None = None, wrong_by_ms: int = 0
    ) -> AsyncIterator["NodeProgram"]:
        """Start the program, with a local clock that is wrong; end it afterwards."""
        process = await asyncio.create_subprocess_exec(
            await need_node(),
            PROGRAM,
            (CLIENT / "src" / "index.js").as_uri(),
            str(wrong_by_ms),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        program = cls(process, token)
        reading = asyncio.create_task(program._read())
        try:
            yield program
        finally:
            process.kill()
            await process.wait()
            await reading

    async def call(self, name: str, **values: Any) -> Any:  # noqa: ANN401 - any JSON
        """Give a command, and return its result.

        Raises:
            NodeError: if it threw.
        """
        self._count += 1
        result = self._waiting[self._count] = asyncio.get_running_loop().create_future()
        self._write({"id": self._count, "name": name, **values})
        return await result

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "wants" in said:
                assert self._token is not None
                self._write({"id": 0, "name": "token", "value": self._token()})
            elif waiting := self._waiting.pop(said["id"], None):
                if "error" in said:
                    waiting.set_exception(NodeError(said["error"]))
                else:
                    waiting.set_result(said["result"])
        for waiting in self._waiting.values():
            waiting.set_exception(NodeError("the program has ended"))

    def _write(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
