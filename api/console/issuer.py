"""The OpenID issuer that signs readers of the console in: its discovery document, and the origins that a page may ask.

The document is read at the first use, and again every five minutes. While the issuer is unavailable, the last document
is used for a day. Without a document nobody can sign in, and a page may ask nothing but this address.
"""

import asyncio
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult

import httpx
import structlog
from pydantic_core import from_json

from api.adapters.dependency import describe
from api.errors.base import ApiError
from api.security.jwks import Fetch, KeysError
from schemas.clock import Clock
from schemas.setting_types import is_loopback, located

DISCOVERY: Final = "/.well-known/openid-configuration"
READ_AGAIN_MS: Final = 300_000
TRY_AGAIN_MS: Final = 10_000
"""After a failure. A page that is loaded sooner gets the same answer."""
KEPT_MS: Final = 86_400_000
READ_SECONDS: Final = 3.0
SCOPES: Final = (
    "openid",
    "offline_access",
    "sleep:read",
    "sleep:write",
    "sleep:policy",
    "sleep:override",
    "sleep:read-any",
    "sleep:operate",
)
"""What the console asks for; where the issuer lists its scopes, only for those that it has."""
_MEMBERS: Final = (
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "authorization_response_iss_parameter_supported",
    "code_challenge_methods_supported",
    "id_token_signing_alg_values_supported",
)
"""What the page needs of the document."""

log = structlog.get_logger(__name__)


class IssuerError(ApiError):
    """The discovery document cannot be read, or it is of no use for the console. The text says why."""


class Discovered(NamedTuple):
    """What the page needs to sign a reader in.

    Attributes:
        document: the needed members of the discovery document.
        scopes: what to ask for, with spaces between.
        origins: what the page may ask beside its own address.
    """

    document: dict[str, Any]
    scopes: str
    origins: tuple[str, ...]


class Issuer:
    """Reads the discovery document of an issuer.

    Args:
        name: the issuer, as its tokens name it.
        client_id: the console's name at the issuer.
        audience: the audience of the API's tokens. One that is a URI is named as the resource (RFC 8707).
        fetch: returns the bytes of the document; its errors are those of `_LOST`.
        clock: a time in milliseconds that nobody sets.
    """

    def __init__(self, name: str, client_id: str, audience: str, fetch: Fetch, clock: Clock) -> None:
        self.name = name
        self.client_id = client_id
        self.resource = audience if ":" in audience and "#" not in audience else None
        self._fetch = fetch
        self._clock = clock
        self._reading = asyncio.Lock()
        self._known: Discovered | None = None
        self._read_at = 0
        self._due: int | None = None
        self._finding = ""

    async def discover(self) -> Discovered:
        """Return what the document says.

        Raises:
            IssuerError: if there is none.
        """
        async with self._reading:
            now = self._clock()
            if self._due is None or now >= self._due:
                await self._read(now)
            if self._known is None or now - self._read_at > KEPT_MS:
                raise IssuerError(self._finding)
            return self._known

    async def _read(self, now: int) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                document = await self._fetch()
            self._known, self._read_at = discovered(document, self.name), now
            self._due, self._finding = now + READ_AGAIN_MS, ""
        except _LOST as error:
            finding = describe(error)
            if finding != self._finding:
                log.warning("console_issuer_unavailable", issuer=self.name, finding=finding)
            self._due, self._finding = now + TRY_AGAIN_MS, finding


_LOST: Final = (IssuerError, KeysError, httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError)


def discovered(document: bytes, name: str) -> Discovered:
    """Return what the page needs of a discovery document.

    Raises:
        IssuerError: if it is not the document of this issuer, or lacks what the console needs.
    """
    try:
        parsed: Any = from_json(document)
    except ValueError as error:
        raise IssuerError(f"the discovery document is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise IssuerError("the discovery document is not an object")
    if parsed.get("issuer") != name:
        raise IssuerError("the discovery document is of another issuer; give the name exactly as the document has it")
    # The page goes to this one; it asks the others.
    _origin(parsed, "authorization_endpoint")
    asked = ["token_endpoint", *(["revocation_endpoint"] if parsed.get("revocation_endpoint") is not None else [])]
    origins = sorted({_origin(parsed, member) for member in asked})
    _require(parsed, "response_types_supported", "code")
    _require(parsed, "code_challenge_methods_supported", "S256")
    supported = parsed.get("scopes_supported")
    scopes = [scope for scope in SCOPES if not isinstance(supported, list) or scope in supported or scope == "openid"]
    return Discovered(
        {member: parsed[member] for member in _MEMBERS if member in parsed}, " ".join(scopes), tuple(origins)
    )


def _require(document: dict[str, Any], member: str, value: str) -> None:
    """Refuse a document that lists something without what the console uses. One that lists nothing passes."""
    listed = document.get(member)
    if listed is not None and (not isinstance(listed, list) or value not in listed):
        raise IssuerError(f"the issuer does not support {value}: {member} of its discovery document lacks it")


def _origin(document: dict[str, Any], member: str) -> str:
    """Return the origin of an endpoint, as a policy of content names it."""
    url = document.get(member)
    try:
        parts = located(url) if isinstance(url, str) else SplitResult("", "", "", "", "")
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    host = parts.hostname or ""
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not host or not safe or parts.username is not None:
        raise IssuerError(f"{member} of the discovery document is no https URL")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if parts.port is None else f":{parts.port}")
