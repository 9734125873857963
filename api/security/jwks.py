"""The keys that sign tokens: a JWKS from a URL or a file, cached.

They are read again every five minutes, so that a revoked key is used for at most five minutes more. They are also read
again when a token names an unknown key, so that a new key works at once. While the issuer is unavailable, or its JWKS
has no usable key, the last keys are used for a day. After that the API answers `jwks_unavailable`.
"""

import asyncio
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt import PyJWK, PyJWTError
from pydantic_core import from_json

from api.adapters.dependency import Dependency, Pause, UnavailableError, describe
from api.errors.base import ApiError
from schemas.clock import Clock

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
"""The accepted signatures. All are asymmetric, so the API holds no signing key."""
REFRESH_EVERY_MS: Final = 10_000
"""An unknown key id makes the API read the keys again, at most this often."""
REREAD_SECONDS: Final = 300.0
"""How long a key is used at most after its issuer has revoked it."""
KEPT_MS: Final = 86_400_000
"""How long keys are used that cannot be read again."""
FETCH_SECONDS: Final = 2.0
LARGEST_JWKS: Final = 1_048_576
"""The largest JWKS, in bytes."""
SMALLEST_RSA: Final = 2048
"""In bits."""
_TEXTS: Final = ("kty", "kid", "alg", "crv", "n", "e", "x", "y")
_BY_TYPE: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
"""The algorithm of a key that names none, by its type."""
_WEAK: Final = {
    "RS256": f"RS256 needs an RSA key of {SMALLEST_RSA} bits or more",
    "ES256": "ES256 needs a key on P-256",
    "EdDSA": "EdDSA needs a key on Ed25519 or Ed448",
}
_KID_SHOWN: Final = 128
_MOST_LEFT_OUT: Final = 100
"""The number of ignored keys that are logged, so that an issuer with ever new ones cannot fill the log."""

Fetch = Callable[[], Awaitable[bytes]]
KeySet = dict[tuple[str | None, str], PyJWK]
log = structlog.get_logger(__name__)


class KeysError(ApiError):
    """The keys cannot be read, or none of them is usable."""


class Keys(Protocol):
    """Finds the key that a token names."""

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key with this id for an algorithm, or the only key for it where the token names none.

        Raises:
            UnavailableError: if the key is unknown and the keys cannot be read.
        """
        ...


class JwksKeys:
    """Keys that are read periodically, and when a token names an unknown key.

    Args:
        fetch: returns the bytes of the JWKS; its errors are those of `lost`.
        clock: a time in milliseconds.
        dependency: is marked up or down as the keys can be read.
    """

    lost = (KeysError, httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError)

    def __init__(self, fetch: Fetch, clock: Clock, dependency: Dependency) -> None:
        self._fetch = fetch
        self._clock = clock
        self._dependency = dependency
        self._keys: KeySet = {}
        self._left_out: set[tuple[str | None, str]] = set()
        self._asked_at: int | None = None
        self._read_at = 0
        self._reading = asyncio.Lock()
        self._failed = asyncio.Event()

    async def run(self, pause: Pause = asyncio.sleep) -> NoReturn:
        """Read the keys every `REREAD_SECONDS`, and raise when they cannot be read; for `dependency.keep`."""
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

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key with this id for an algorithm; see `Keys`."""
        if (key := self._known(kid, algorithm)) is not None:
            return key
        async with self._reading:
            due = self._asked_at is None or self._clock() - self._asked_at >= REFRESH_EVERY_MS
            if self._known(kid, algorithm) is None and due:
                try:
                    await self._read()
                except self.lost as error:
                    self._dependency.mark_down(describe(error))
                    self._failed.set()
        if (key := self._known(kid, algorithm)) is None and not self._dependency.up:
            raise UnavailableError(self._dependency.name, self._dependency.finding)
        return key

    def _known(self, kid: str | None, algorithm: str) -> PyJWK | None:
        return None if self._clock() - self._read_at > KEPT_MS else pick(self._keys, kid, algorithm)

    async def _read(self) -> None:
        self._asked_at = self._clock()
        async with asyncio.timeout(FETCH_SECONDS):
            keys = parse_jwks(await self._fetch(), self._leave_out)
        self._keys, self._read_at = keys, self._clock()
        self._dependency.mark_up(f"{len(keys)} keys")

    def _leave_out(self, kid: str | None, reason: str) -> None:
        """Log an ignored key, once."""
        if (kid, reason) not in self._left_out and len(self._left_out) < _MOST_LEFT_OUT:
            self._left_out.add((kid, reason))
            log.warning("jwks_key_left_out", kid=None if kid is None else kid[:_KID_SHOWN], reason=reason)


def pick(keys: KeySet, kid: str | None, algorithm: str) -> PyJWK | None:
    """Return the key with this id for an algorithm; without an id the only key for the algorithm."""
    if kid is not None:
        return keys.get((kid, algorithm))
    candidates = [key for (_, name), key in keys.items() if name == algorithm]
    return candidates[0] if len(candidates) == 1 else None


def parse_jwks(document: bytes, left_out: Callable[[str | None, str], None] | None = None) -> KeySet:
    """Return the keys of a JWKS by id and algorithm. Keys for none of `ALGORITHMS` are ignored.

    A member that is null or empty counts as absent, since .NET writes all members that it knows.

    Args:
        document: the JWKS.
        left_out: is called for each ignored key with its id and the reason.

    Raises:
        KeysError: if it is not a JWKS or has no usable key.
    """
    try:
        # Some editors write a byte order mark first.
        parsed: Any = from_json(document.removeprefix(BOM_UTF8))
    except ValueError as error:
        msg = f"the JWKS is not JSON: {error}"
        raise KeysError(msg) from None
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        msg = "the JWKS has no list of keys"
        raise KeysError(msg)
    keys: KeySet = {}
    reasons: list[str] = []
    for entry in entries:
        kid, key_or_reason = _read_key(entry)
        if isinstance(key_or_reason, PyJWK):
            if (kid, key_or_reason.algorithm_name) in keys and left_out is not None:
                left_out(kid, "a later key has the same kid, or none either, and the same algorithm")
            keys[kid, key_or_reason.algorithm_name] = key_or_reason
            continue
        reasons.append(key_or_reason)
        if left_out is not None:
            left_out(kid, key_or_reason)
    if not keys:
        why = f" ({reasons[0]})" if reasons else ""
        msg = f"the JWKS has no signature key for {', '.join(ALGORITHMS)}{why}"
        raise KeysError(msg)
    return keys


def _read_key(entry: object) -> tuple[str | None, PyJWK | str]:
    """Return the id of a JWKS entry, and its key or the reason why it has none. The reason does not quote the entry."""
    if not isinstance(entry, dict):
        return None, "it is not an object"
    members = {name: value for name, value in entry.items() if value not in (None, "", [], {})}
    kid = members.get("kid")
    if not all(isinstance(members.get(name, ""), str) for name in _TEXTS):
        return kid if isinstance(kid, str) else None, f"one of {', '.join(_TEXTS)} is not a string"
    algorithm = members.get("alg") or _BY_TYPE.get(members.get("kty", ""))
    reason = _unfit(members, algorithm)
    if reason is not None:
        return kid, reason
    try:
        key = PyJWK(members, algorithm)
    except (PyJWTError, KeyError):
        # PyJWT's own message quotes the entry.
        return kid, "its numbers, or its curve, cannot be read"
    return kid, key if _is_strong(key) else _WEAK[key.algorithm_name]


def _unfit(members: Mapping[str, Any], algorithm: str | None) -> str | None:
    """Return why an entry is not the public half of a signature key for `ALGORITHMS`, None if it is."""
    operations = members.get("key_ops", ["verify"])
    if "d" in members:
        return "it is a private key; a JWKS holds public ones"
    if members.get("use", "sig") != "sig":
        return "its use is not sig"
    if not isinstance(operations, list) or "verify" not in operations:
        return "its key_ops lack verify"
    if algorithm not in ALGORITHMS:
        return f"its type or algorithm is for none of {', '.join(ALGORITHMS)}"
    return None


def _is_strong(key: PyJWK) -> bool:
    """Tell whether a key has the curve or size that its algorithm requires. PyJWT accepts any."""
    match key.algorithm_name, key.key:
        case "RS256", rsa.RSAPublicKey() as public:
            return public.key_size >= SMALLEST_RSA
        case "ES256", ec.EllipticCurvePublicKey() as public:
            return isinstance(public.curve, ec.SECP256R1)
        case "EdDSA", ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return True
        case _:
            return False


def fetch_from(location: str, client: httpx.AsyncClient, what: str = "JWKS") -> Fetch:
    """Return a function that reads a document of an issuer, of at most `LARGEST_JWKS` bytes.

    Args:
        location: an http(s) URL or a file.
        client: asks the URL.
        what: the document, for errors.
    """

    async def from_url() -> bytes:
        # A compressed answer could expand beyond the bound. A redirect would lead to keys that nobody configured.
        request = client.build_request("GET", location, headers={"Accept-Encoding": "identity"}, timeout=FETCH_SECONDS)
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if not response.is_success:
                # Not httpx's own error: its text holds the URL with any password in it.
                raise KeysError(f"the issuer answered {response.status_code} {response.reason_phrase}")
            if "content-encoding" in response.headers:
                raise KeysError(f"the {what} is packed, though that was not asked for")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                _bounded(len(body), what)
            return bytes(body)
        finally:
            await response.aclose()

    def read() -> bytes:
        with Path(location).open("rb") as file:
            document = file.read(LARGEST_JWKS + 1)
        _bounded(len(document), what)
        return document

    async def from_file() -> bytes:
        return await asyncio.to_thread(read)

    return from_url if location.startswith(("http://", "https://")) else from_file


def _bounded(size: int, what: str) -> None:
    if size > LARGEST_JWKS:
        msg = f"the {what} has more than {LARGEST_JWKS} bytes"
        raise KeysError(msg)
