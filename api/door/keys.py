"""The keys that sign tokens: a JWKS from a URL or a file, cached.

They are read again every five minutes, so that a key that its issuer took back signs for five minutes more at most, and
when a token names an unknown one, so that a new key works at once. While the issuer is away, or sends what holds no
usable key, the last keys go on for a day; then nobody can tell any more who calls, and the API says so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt import PyJWK, PyJWTError
from pydantic_core import from_json

from api.clock import Clock
from api.operate.dependency import Dependency, Pause, UnavailableError, describe

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
"""The signatures that are accepted. All are asymmetric: the API holds no secret that signs."""
REFRESH_EVERY_MS: Final = 10_000
"""An unknown key id makes the API read the keys again, at most this often."""
REREAD_SECONDS: Final = 300.0
"""How long a key works at most after its issuer took it back."""
KEPT_MS: Final = 86_400_000
"""How long keys are used that could not be read again."""
FETCH_SECONDS: Final = 2.0
LARGEST_JWKS: Final = 1_048_576
"""How much of a JWKS is read, in bytes; a longer one is none."""
SMALLEST_RSA: Final = 2048
"""In bits."""
_TEXTS: Final = ("kty", "kid", "alg", "crv", "n", "e", "x", "y")

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
    """Keys read now and then, and when a token names one that is not known.

    Args:
        fetch: returns the bytes of the JWKS; its errors are those of `lost`.
        clock: the time, in milliseconds.
        dependency: told whether the keys could be read.
    """

    lost = (KeysError, httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError)

    def __init__(self, fetch: Fetch, clock: Clock, dependency: Dependency) -> None:
        self._fetch = fetch
        self._clock = clock
        self._dependency = dependency
        self._keys: dict[str | None, PyJWK] = {}
        self._asked_at: int | None = None
        self._read_at = 0
        self._reading = asyncio.Lock()
        self._failed = asyncio.Event()

    async def run(self, pause: Pause = asyncio.sleep) -> NoReturn:
        """Read the keys every `REREAD_SECONDS`, and end with an error when a reading fails; for `dependency.keep`."""
        while True:
            async with self._reading:
                await self._read()
            self._failed.clear()
            resting, failing = asyncio.ensure_future(pause(REREAD_SECONDS)), asyncio.ensure_future(self._failed.wait())
            try:
                done, _ = await asyncio.wait((resting, failing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                resting.cancel()
                failing.cancel()
            if failing in done:
                raise KeysError(self._dependency.finding)
            await resting

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
        if self._clock() - self._read_at > KEPT_MS:
            return None
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return None if kid is None else self._keys.get(kid)

    async def _read(self) -> None:
        self._asked_at = self._clock()
        async with asyncio.timeout(FETCH_SECONDS):
            keys = parse_jwks(await self._fetch())
        self._keys, self._read_at = keys, self._clock()
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
    if not isinstance(entry, dict) or not _is_for_verifying(entry):
        return None
    try:
        key = PyJWK(entry)
    except PyJWTError:
        return None
    return key if _is_strong(key) else None


def _is_for_verifying(entry: dict[str, Any]) -> bool:
    """Tell whether an entry says that it is the public half of a key for `ALGORITHMS`."""
    operations = entry.get("key_ops", ["verify"])
    return (
        "d" not in entry
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", ALGORITHMS[0]) in ALGORITHMS
        and isinstance(operations, list)
        and "verify" in operations
        and all(isinstance(entry.get(name, ""), str) for name in _TEXTS)
    )


def _is_strong(key: PyJWK) -> bool:
    """Tell whether a key is of the kind that its algorithm asks for; PyJWT takes any curve and any size."""
    match key.algorithm_name, key.key:
        case "RS256", rsa.RSAPublicKey() as public:
            return public.key_size >= SMALLEST_RSA
        case "ES256", ec.EllipticCurvePublicKey() as public:
            return isinstance(public.curve, ec.SECP256R1)
        case "EdDSA", ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return True
        case _:
            return False


def fetch_from(location: str, client: httpx.AsyncClient) -> Fetch:
    """Return what reads a JWKS from an http(s) URL, or else from a file; neither beyond `LARGEST_JWKS`."""

    async def from_url() -> bytes:
        # A packed answer could be larger than it looks; a redirect would lead to keys that nobody configured.
        request = client.build_request("GET", location, headers={"Accept-Encoding": "identity"}, timeout=FETCH_SECONDS)
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if not response.is_success:
                # Not httpx's own error, whose text holds the URL and any password in it.
                raise KeysError(f"the issuer answered {response.status_code} {response.reason_phrase}")
            if "content-encoding" in response.headers:
                raise KeysError("the JWKS is packed, though that was not asked for")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                _bounded(len(body))
            return bytes(body)
        finally:
            await response.aclose()

    def read() -> bytes:
        with Path(location).open("rb") as file:
            document = file.read(LARGEST_JWKS + 1)
        _bounded(len(document))
        return document

    async def from_file() -> bytes:
        return await asyncio.to_thread(read)

    return from_url if location.startswith(("http://", "https://")) else from_file


def _bounded(size: int) -> None:
    if size > LARGEST_JWKS:
        msg = f"the JWKS has more than {LARGEST_JWKS} bytes"
        raise KeysError(msg)
