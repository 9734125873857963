"""Authentication: verifies bearer tokens.

A token is parsed only after its size and shape were checked, and its claims are read only after its signature was
verified. Headers that name a key (`jku`, `jwk`, `x5u`) are ignored: only keys of the configured issuer are used.
"""

import base64
import json
import math
import re
from collections import OrderedDict
from typing import Any, Final, NamedTuple, NoReturn

import jwt
from jwt import PyJWK
from pydantic import TypeAdapter, ValidationError

from api.errors.base import ApiError
from api.security.jwks import ALGORITHMS, Keys
from schemas.clock import Clock, now_ms
from schemas.domain.values import TENANT_PATTERN, Text

LEEWAY_SECONDS: Final = 30
"""The accepted difference between the issuer's clock and this machine's."""
REMEMBERED_TOKENS: Final = 1024
LONGEST_TOKEN: Final = 16_384
"""In characters. A longer token is not parsed."""
ANY_TENANT_SCOPES: Final = frozenset({"sleep:read-any", "sleep:emit-any", "sleep:operate"})
"""Scopes for any tenant. A token with one of them needs no tenant claim."""

# `\Z`, since `$` would let a newline at the end pass.
_TENANT: Final = re.compile(TENANT_PATTERN.removesuffix("$") + r"\Z")
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\Z")
_SCOPES: Final = re.compile(r"[ !#-\[\]-~]*\Z")
_LARGEST_TIME: Final = 2**53
_MALFORMED: Final = "the token is malformed"
_SUBJECT: Final[TypeAdapter[str]] = TypeAdapter(Text)
_REASONS: Final[dict[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidIssuerError: "the token's issuer is another one",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidSignatureError: "the token's signature does not verify",
}


class TokenError(ApiError):
    """The token is not accepted. The text says why and does not quote the token."""


class Principal(NamedTuple):
    """The subject of a verified token; `tenant` is None only for a token with an any-tenant scope.

    `expires_at` is the end of the token in milliseconds. A stream ends at that time, without leeway.
    """

    subject: str
    tenant: str | None
    scopes: tuple[str, ...]
    expires_at: int


class _Verified(NamedTuple):
    """A verified token: its principal and its key."""

    principal: Principal
    kid: str | None
    key: PyJWK

    @property
    def expires_at(self) -> int:
        """When the token is no longer accepted, in milliseconds."""
        return self.principal.expires_at + LEEWAY_SECONDS * 1000


class _Jwt(jwt.PyJWT):
    """PyJWT with a strict JSON parser for claims."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        claims = _object(decoded["payload"])
        for name in ("exp", "nbf", "iat"):
            if name in claims and not _is_time(claims[name]):
                raise TokenError(f"the claim {name} is not a time")
        return claims


_JWT: Final = _Jwt()


class Verifier:
    """Verifies tokens (RFC 9068): signature, issuer, audience, times, and the claims that the API reads.

    A verified token is cached until it expires or the issuer's keys change. Services send the same token many times,
    and a signature costs more than the rest of a read.
    """

    def __init__(self, keys: Keys, issuer: str, audience: str, tenant_claim: str, clock: Clock = now_ms) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._tenant_claim = tenant_claim
        self._clock = clock
        self._verified: OrderedDict[str, _Verified] = OrderedDict()
        # No cached token expires before this, so a full cache is not searched each time.
        self._first_expires_at = math.inf

    async def verify(self, token: str) -> Principal:
        """Return the principal of a token.

        Raises:
            TokenError: if the token is not accepted.
            UnavailableError: if the issuer's keys cannot be read.
        """
        remembered = self._verified.get(token)
        if remembered is not None and await self._still_good(remembered):
            if token in self._verified:
                self._verified.move_to_end(token)
            return remembered.principal
        self._verified.pop(token, None)
        try:
            verified = await self._verify(token)
        except jwt.PyJWTError as error:
            raise TokenError(_reason(error)) from None
        self._remember(token, verified)
        return verified.principal

    def _remember(self, token: str, verified: _Verified) -> None:
        """Cache a token. A full cache drops expired tokens first, and then the least recently used one."""
        now = self._clock()
        if len(self._verified) >= REMEMBERED_TOKENS and now >= self._first_expires_at:
            for expired_token in [
                expired_token for expired_token, remembered in self._verified.items() if now >= remembered.expires_at
            ]:
                del self._verified[expired_token]
            self._first_expires_at = min(
                (remembered.expires_at for remembered in self._verified.values()), default=math.inf
            )
        while len(self._verified) >= REMEMBERED_TOKENS:
            self._verified.popitem(last=False)
        self._verified[token] = verified
        self._first_expires_at = min(self._first_expires_at, verified.expires_at)

    async def _still_good(self, remembered: _Verified) -> bool:
        in_time = self._clock() < remembered.expires_at
        return in_time and await self._keys.find(remembered.kid, remembered.key.algorithm_name) is remembered.key

    async def _verify(self, token: str) -> _Verified:
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise TokenError(f"the token's algorithm is none of {', '.join(ALGORITHMS)}")
        if "crit" in header:
            raise TokenError("the token demands an extension that is not known here")
        if kid is not None and not isinstance(kid, str):
            raise TokenError("the token's key id is not a string")
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise TokenError("the token names no key of its issuer for its algorithm")
        claims: dict[str, Any] = _JWT.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "exp", "sub"]},
        )
        return _Verified(self._principal(claims), kid, key)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        try:
            subject = _SUBJECT.validate_python(claims["sub"])
        except ValidationError:
            subject = ""
        if not subject:
            raise TokenError("the claim sub is not a text of 1 to 256 characters")
        scope = claims.get("scope", "")
        if not isinstance(scope, str) or _SCOPES.match(scope) is None:
            raise TokenError("the claim scope is not a string of scopes with spaces between them")
        scopes = tuple(scope.split())
        tenant = claims.get(self._tenant_claim)
        if tenant is None and ANY_TENANT_SCOPES.isdisjoint(scopes):
            raise TokenError(f"the claim {self._tenant_claim} is missing")
        if tenant is not None and not is_tenant(tenant):
            raise TokenError(f"the claim {self._tenant_claim} is not a tenant id")
        return Principal(subject, tenant, scopes, math.floor(claims["exp"] * 1000))


def is_tenant(value: object) -> bool:
    """Tell whether a value is a tenant id."""
    return isinstance(value, str) and _TENANT.match(value) is not None


def _header(token: str) -> dict[str, Any]:
    """Return the header of a token, after a check of its size and shape."""
    if len(token) > LONGEST_TOKEN:
        raise TokenError(f"the token is longer than {LONGEST_TOKEN} characters")
    if _COMPACT.match(token) is None:
        raise TokenError(_MALFORMED)
    part, _, _ = token.partition(".")
    try:
        return _object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        raise TokenError(_MALFORMED) from None


def _object(document: bytes) -> dict[str, Any]:
    """Return a JSON object without repeated names: a proxy in front may have read the other value.

    Raises:
        TokenError: if it is not such an object.
    """
    try:
        value = json.loads(document.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TokenError(_MALFORMED)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a repeated name")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _is_time(value: object) -> bool:
    """Tell whether a value is a number of seconds. `true` is 1 in Python, but not in JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_TIME


def _reason(error: jwt.PyJWTError) -> str:
    """Return the reason for callers. PyJWT's own text may quote claims."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the claim {error.claim} is missing"
    return next((text for kind, text in _REASONS.items() if isinstance(error, kind)), _MALFORMED)
