"""A JWKS behind a real URL: read at the start, rotated, hammered by strangers, and away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from pydantic_core import from_json, to_json

from sleepctl.io.signing_keys import SigningKey
from tests.services import Namespace, Services
from tests.services.probe import free_port
from tests.support.installation import AUDIENCE, ISSUER, ApiClient, Installation

pytestmark = pytest.mark.once

URL = "/api/brain/sleep_mode"
STRANGERS = 50


class Issuer:
    """A key server; `keys` are what it sends now, `asked` how often it was asked."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = keys
        self.asked = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = to_json({"keys": [from_json(key.jwks())["keys"][0] for key in self.keys]})
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """A key server with one key."""
    issuer = Issuer(SigningKey.generate())
    await issuer.start()
    yield issuer
    await issuer.stop()


@pytest.fixture
async def door(issuer: Issuer, services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[ApiClient]:
    """An API that reads its keys from the key server; its tokens are signed with the first key."""
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        port = free_port()
        process = installation.start(
            "api",
            SLEEP_API_PORT=str(port),
            SLEEP_JWT_JWKS=f"http://127.0.0.1:{issuer.port}/jwks",
            SLEEP_JWT_ISSUER=ISSUER,
            SLEEP_JWT_AUDIENCE=AUDIENCE,
        )
        door = ApiClient(process, f"http://127.0.0.1:{port}", issuer.keys[0])
        async with asyncio.timeout(60), door.client("acme") as client:
            while True:
                with suppress(httpx.TransportError):
                    if (await client.get("/readyz")).status_code == httpx.codes.OK:
                        break
                await asyncio.sleep(0.1)
        yield door


async def _status(door: ApiClient, key: SigningKey) -> int:
    async with ApiClient(door.process, door.url, key).client("acme") as client:
        return (await client.get(URL)).status_code


async def test_keys_rotate_without_a_strangers_token_hammering_their_server(issuer: Issuer, door: ApiClient) -> None:
    """Fifty unknown keys are one question in ten seconds; then a new key works, and goes on without the server."""
    known, fresh = issuer.keys[0], SigningKey.generate()
    assert (await _status(door, known), issuer.asked) == (200, 1)
    issuer.keys = (known, fresh)
    strangers = await asyncio.gather(*(_status(door, SigningKey.generate()) for _ in range(STRANGERS)))
    assert set(strangers) == {401}
    assert issuer.asked <= 2
    async with asyncio.timeout(20):
        while await _status(door, fresh) != httpx.codes.OK:
            await asyncio.sleep(0.2)
    assert issuer.asked <= 3
    await issuer.stop()
    assert (await _status(door, known), await _status(door, fresh)) == (200, 200)
