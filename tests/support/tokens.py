"""Builders of bearer tokens and of the keys that sign them, thrown away with the process."""

import json
import time
from functools import cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example"
AUDIENCE = "sleep"
KID = "key-1"
NO_TEXTS: Final[tuple[object, ...]] = (None, 1, ["ES256"], {})
"""What may stand where a text belongs, in a token or in a key."""
ALL_SCOPES = "sleep:read sleep:write sleep:policy sleep:override"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def private_key(algorithm: str) -> PrivateKey:
    """A key of the session for an algorithm; another name after a dash makes another key of that kind."""
    match algorithm.partition("-")[0]:
        case "RS256":
            return rsa.generate_private_key(65537, 2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def public_jwk(algorithm: str, kid: str | None = KID) -> dict[str, Any]:
    """The public half of such a key, as a JWK."""
    jwk: dict[str, Any]
    match private_key(algorithm).public_key():
        case rsa.RSAPublicKey() as public:
            jwk = json.loads(RSAAlgorithm.to_jwk(public))
        case ec.EllipticCurvePublicKey() as public:
            jwk = json.loads(ECAlgorithm.to_jwk(public))
        case public:
            jwk = json.loads(OKPAlgorithm.to_jwk(public))
    return jwk | {"use": "sig"} | ({} if kid is None else {"kid": kid})


def jwks(*entries: dict[str, Any]) -> bytes:
    """A JWKS with these keys, by default one for ES256."""
    return json.dumps({"keys": list(entries or (public_jwk("ES256"),))}).encode()


def claims(**changes: object) -> dict[str, Any]:
    """Good claims with some changed; None removes one."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ops@acme",
        "exp": int(time.time()) + 600,
        "scope": ALL_SCOPES,
        "tenant_id": "acme",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(algorithm: str = "ES256", *, header: dict[str, Any] | None = None, **changes: object) -> str:
    """A token with good claims, some of them changed."""
    signed_with, _, _ = algorithm.partition("-")
    return jwt.encode(claims(**changes), private_key(algorithm), signed_with, header or {"kid": KID})
