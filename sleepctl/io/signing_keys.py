"""Keys and tokens for development. The tokens of an installation come from its own issuer."""

import time
import uuid
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt import encode
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from pydantic_core import to_json

from sleepctl.ui.errors import CommandError

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
# The members of a thumbprint by RFC 7638, by key type.
_THUMBPRINT: Final = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}


class TokenClaims(NamedTuple):
    """The claims of a token; it expires `ttl_seconds` from now. `tenant` is None for an operator without a tenant."""

    issuer: str
    audience: str
    subject: str
    scope: str
    tenant: str | None
    ttl_seconds: int
    tenant_claim: str = "tenant_id"


class SigningKey:
    """A private key that signs development tokens, and its public key as a JWKS."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._algorithm, public = _public(key)
        members = {name: public[name] for name in _THUMBPRINT[public["kty"]]}
        self._kid = urlsafe_b64encode(sha256(to_json(members)).digest()).rstrip(b"=").decode()
        self._public = {**members, "kid": self._kid, "alg": self._algorithm, "use": "sig"}

    @classmethod
    def generate(cls) -> "SigningKey":
        """Return a new ES256 key."""
        return cls(generate_private_key(SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """Return the key in a PEM file: EC P-256, Ed25519 or RSA, without a password.

        Raises:
            CommandError: if the file holds no such key.
        """
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise CommandError("the key file does not hold a private key in PEM without a password") from None
        if isinstance(key, EllipticCurvePrivateKey) and not isinstance(key.curve, SECP256R1):
            raise CommandError(f"the key is on {key.curve.name}; ES256 needs P-256")
        if not isinstance(key, PrivateKey):
            raise CommandError("the key is neither EC P-256, Ed25519 nor RSA")
        return cls(key)

    def pem(self) -> bytes:
        """Return the private key, unencrypted."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def jwks(self) -> bytes:
        """Return the public key as the JWKS that `SLEEP_JWT_JWKS` names."""
        return to_json({"keys": [self._public]}, indent=2) + b"\n"

    def token(self, claims: TokenClaims, now: float | None = None) -> str:
        """Return a signed access token (RFC 9068); `now` in seconds, by default the machine's clock."""
        issued_at = int(time.time() if now is None else now)
        payload: dict[str, Any] = {
            "iss": claims.issuer,
            "aud": claims.audience,
            "sub": claims.subject,
            "client_id": "sleepctl",
            "iat": issued_at,
            "exp": issued_at + claims.ttl_seconds,
            "jti": str(uuid.uuid4()),
            "scope": claims.scope,
        }
        if claims.tenant is not None:
            payload[claims.tenant_claim] = claims.tenant
        return encode(payload, self._key, self._algorithm, {"kid": self._kid, "typ": "at+jwt"})


def _public(key: PrivateKey) -> tuple[str, dict[str, Any]]:
    """Return the algorithm of a key, and its public key as a JWK."""
    match key:
        case RSAPrivateKey():
            return "RS256", RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case Ed25519PrivateKey():
            return "EdDSA", OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case _:
            return "ES256", ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
