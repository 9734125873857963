"""The keys that sign tokens: a JWKS from a URL or a file, cached."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import httpx
from jwt import PyJWK, PyJWTError
from pydantic_core import from_json

from api.clock import Clock
from api.dependency import Dependency, UnavailableError, describe

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
"""The signatures that are accepted. All are asymmetric: the API holds no secret that signs."""
REFRESH_EVERY_MS: Final = 10_000
"""An unknown key id makes the API read the keys again, at most this often."""
FETCH_SECONDS: Final = 2.0

Fetch = Callable[[], Awaitable[bytes]]


class KeysError(Exception):
    """The keys cannot be read, or none of them is of use."""


class Keys(Protocol):
    """Finds the key that a token names."""

    async def find(self, kid: str | None) -> PyJWK | None:
        """Return the key with this id, or the only key where the token names none.

        Raises:
            UnavailableError: if the keys cannot be read, so that nobody can tell.
        """
        ...


class JwksKeys:
    """Keys read once, and again when a token names one that is not known.

    Args:
        fetch: returns the bytes of the JWKS; its errors are those of `lost`.
        clock: the time, in milliseconds.
        dependency: told whether the keys could be read.
    """

    lost = (KeysError, httpx.HTTPError, OSError, TimeoutError)

    def __init__(self, fetch: Fetch, clock: Clock, dependency: Dependency) -> None:
        self._fetch = fetch
        self._clock = clock
        self._dependency = dependency
        self._keys: dict[str | None, PyJWK] = {}
        self._asked_at: int | None = None
        self._reading = asyncio.Lock()
        self._failed = asyncio.Event()

    async def run(self) -> NoReturn:
        """Read the keys, and end with an error when a later reading fails; for `dependency.keep`."""
        async with self._reading:
            await self._read()
        self._failed.clear()
        await self._failed.wait()
        raise KeysError(self._dependency.finding)

    async def find(self, kid: str | None) -> PyJWK | None:
        """Return the key with this id; see `Keys`."""
        if (known := self._known(kid)) is not None:
            return known
        async with self._reading:
            due = self._asked_at is None or self._clock() - self._asked_at >= REFRESH_EVERY_MS
            if self._known(kid) is None and due:
                try:
                    await self._read()
                except self.lost as error:
                    self._dependency.found_down(describe(error))
                    self._failed.set()
        if (known := self._known(kid)) is None and not self._dependency.up:
            raise UnavailableError(self._dependency.name, self._dependency.finding)
        return known

    def _known(self, kid: str | None) -> PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return None if kid is None else self._keys.get(kid)

    async def _read(self) -> None:
        self._asked_at = self._clock()
        async with asyncio.timeout(FETCH_SECONDS):
            keys = parse_jwks(await self._fetch())
        self._keys = keys
        self._dependency.found_up(f"{len(keys)} keys")


def parse_jwks(document: bytes) -> dict[str | None, PyJWK]:
    """Return the keys of a JWKS by id; those that cannot verify one of `ALGORITHMS` are left out.

    Raises:
        KeysError: if it is no JWKS or holds no usable key.
    """
    try:
        parsed: Any = from_json(document)
    except ValueError as error:
        msg = f"the JWKS is not JSON: {error}"
        raise KeysError(msg) from None
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        msg = "the JWKS has no list of keys"
        raise KeysError(msg)
    keys: dict[str | None, PyJWK] = {}
    for entry in entries:
        if (key := _usable(entry)) is not None:
            keys[key.key_id] = key
    if not keys:
        msg = f"the JWKS has no signature key for {', '.join(ALGORITHMS)}"
        raise KeysError(msg)
    return keys


def _usable(entry: Any) -> PyJWK | None:  # noqa: ANN401 - whatever stands in the list
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    try:
        key = PyJWK(entry)
    except PyJWTError:
        return None
    return key if key.algorithm_name in ALGORITHMS else None


def fetch_from(location: str, client: httpx.AsyncClient) -> Fetch:
    """Return what reads a JWKS from an http(s) URL, or else from a file."""

    async def from_url() -> bytes:
        return (await client.get(location, timeout=FETCH_SECONDS)).raise_for_status().content

    async def from_file() -> bytes:
        return await asyncio.to_thread(Path(location).read_bytes)

    return from_url if location.startswith(("http://", "https://")) else from_file
