"""Who calls: the bearer token, verified.

Nothing of a token is parsed before its size and shape are known, and no claim is read before its signature verified.
Headers that name a key (`jku`, `jwk`, `x5u`) are not read: the keys are those of the configured issuer.
"""

import base64
import json
import math
import re
from typing import Any, Final, NamedTuple, NoReturn

import jwt
from jwt import PyJWK
from pydantic import TypeAdapter, ValidationError

from api.clock import Clock, now_ms
from api.door.keys import ALGORITHMS, Keys
from schemas.values import TENANT_PATTERN, Text

LEEWAY_SECONDS: Final = 30
"""How far the issuer's clock and ours may differ."""
REMEMBERED_TOKENS: Final = 1024
LONGEST_TOKEN: Final = 16_384
"""In characters; a longer one is not parsed."""
ANY_TENANT_SCOPES: Final = frozenset({"sleep:read-any", "sleep:emit-any", "sleep:operate"})
"""Scopes that reach beyond the token's own tenant; a token with one of them may name no tenant."""

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


class TokenError(Exception):
    """The token is not accepted; the text says why and holds nothing of the token."""


class Principal(NamedTuple):
    """Who a verified token speaks for; `tenant` is None only for a token with an any-tenant scope.

    `expires_at` is the token's end in milliseconds; what goes on after the request ends then, without leeway.
    """

    subject: str
    tenant: str | None
    scopes: tuple[str, ...]
    expires_at: int


class _Verified(NamedTuple):
    """A token that was verified: for whom, and with which key."""

    principal: Principal
    kid: str | None
    key: PyJWK


class _Jwt(jwt.PyJWT):
    """PyJWT, with claims that mean one thing only."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        claims = _object(decoded["payload"])
        for name in ("exp", "nbf", "iat"):
            if name in claims and not _is_time(claims[name]):
                raise TokenError(f"the claim {name} is not a time")
        return claims


_JWT: Final = _Jwt()


class Verifier:
    """Verifies tokens (RFC 9068): signature, issuer, audience, times, and the claims that we read.

    A token that was verified is remembered, and taken again until it expires or its issuer's keys are read
    anew: services send the same token many times, and a signature costs more than all the rest of a read.
    """

    def __init__(self, keys: Keys, issuer: str, audience: str, tenant_claim: str, clock: Clock = now_ms) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._tenant_claim = tenant_claim
        self._clock = clock
        self._verified: dict[str, _Verified] = {}

    async def verify(self, token: str) -> Principal:
        """Return who the token speaks for.

        Raises:
            TokenError: if the token is not accepted.
            UnavailableError: if the issuer's keys cannot be read.
        """
        known = self._verified.get(token)
        if known is not None and await self._still_good(known):
            return known.principal
        self._verified.pop(token, None)
        try:
            verified = await self._verify(token)
        except jwt.PyJWTError as error:
            raise TokenError(_reason(error)) from None
        if len(self._verified) >= REMEMBERED_TOKENS:
            self._verified.clear()
        self._verified[token] = verified
        return verified.principal

    async def _still_good(self, known: _Verified) -> bool:
        in_time = self._clock() < known.principal.expires_at + LEEWAY_SECONDS * 1000
        return in_time and await self._keys.find(known.kid) is known.key

    async def _verify(self, token: str) -> _Verified:
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise TokenError(f"the token's algorithm is none of {', '.join(ALGORITHMS)}")
        if "crit" in header:
            raise TokenError("the token demands an extension that is not known here")
        if kid is not None and not isinstance(kid, str):
            raise TokenError("the token's key id is not a string")
        key = await self._keys.find(kid)
        if key is None:
            raise TokenError("the token names no key of its issuer")
        if key.algorithm_name != algorithm:
            raise TokenError("the token's algorithm is not its key's")
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
    """Return the header of what has the shape of a signed token."""
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
    """Return a JSON object that names nothing twice: of two values, whoever stands before us may have read the other.

    Raises:
        TokenError: if it is none.
    """
    try:
        value = json.loads(document.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TokenError(_MALFORMED)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name that is there twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _is_time(value: object) -> bool:
    """Tell whether a value is a number of seconds; `true` is 1 for Python, but not for JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_TIME


def _reason(error: jwt.PyJWTError) -> str:
    """Return a text of our own for what a caller may know; PyJWT's may quote claims."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the claim {error.claim} is missing"
    return next((text for kind, text in _REASONS.items() if isinstance(error, kind)), _MALFORMED)
