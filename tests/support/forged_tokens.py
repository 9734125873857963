"""Forged, senseless and stale bearer tokens, each under the name of its attack."""

import base64
import hmac
import json
import time
from hashlib import sha256
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from api.security.tokens import LONGEST_TOKEN
from tests.support.tokens import AUDIENCE, ISSUER, KID, NO_TEXTS, claims, private_key, public_jwk, token

SLEEP: Final = {"target_state": "deep", "ttl_seconds": 60}
HEADER: Final = {"alg": "ES256", "kid": KID}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(value: object) -> str:
    return _b64(json.dumps(value).encode())


def _signed(payload: str | bytes, header: object = HEADER) -> str:
    """A token of the issuer's own key, whatever it says."""
    signed = f"{_part(header)}.{_b64(payload.encode() if isinstance(payload, str) else payload)}"
    key = private_key("ES256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return f"{signed}.{_b64(ECAlgorithm(ECAlgorithm.SHA256).sign(signed.encode(), key))}"


def _claims(text: str) -> str:
    """Good claims as JSON, with a text of the attacker's at the end."""
    return json.dumps(claims())[:-1] + "," + text + "}"


def _hs256(secret: bytes, algorithm: str = "HS256") -> str:
    signed = f"{_part({'alg': algorithm, 'kid': KID})}.{_part(claims())}"
    return f"{signed}.{_b64(hmac.digest(secret, signed.encode(), sha256))}"


def _public_secrets() -> dict[str, str]:
    public = private_key("ES256").public_key()
    return {
        "HS256 with the public key's PEM": _hs256(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
        "HS256 with the public key's DER": _hs256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        "HS256 with the JWK": _hs256(json.dumps(public_jwk("ES256")).encode()),
        "HS256 with nothing": _hs256(b""),
        "HS256 called ES256": _hs256(json.dumps(public_jwk("ES256")).encode(), "ES256"),
    }


def _wrong_curve() -> str:
    key = ec.generate_private_key(ec.SECP384R1())
    return jwt.encode(claims(), key, "ES384", {"kid": KID})


NOW: Final = int(time.time())
GOOD: Final = token()


HEAD, BODY, SIGNATURE = GOOD.split(".")


WITHOUT: Final = json.dumps(claims(exp=None))[:-1]
TWICE: Final = _b64(b'{"alg": "none", "alg": "ES256", "kid": "key-1"}')
ATTACKS: Final[dict[str, str]] = {
    **{f"alg {name}": f"{_part({'alg': name, 'kid': KID})}.{BODY}." for name in ("none", "None", "NONE", "nOnE", "")},
    **{f"alg none, signed {name}": f"{_part({'alg': name})}.{BODY}.{SIGNATURE}" for name in ("none", "nOnE")},
    **{f"alg {name!r}": f"{_part({'alg': name, 'kid': KID})}.{BODY}.{SIGNATURE}" for name in NO_TEXTS},
    **_public_secrets(),
    "no signature": f"{HEAD}.{BODY}.",
    "a signature of zeros": f"{HEAD}.{BODY}.{_b64(bytes(64))}",
    "claims swapped": f"{HEAD}.{_part(claims(tenant_id='globex'))}.{SIGNATURE}",
    "another key": token("ES256-other"),
    "another curve": _wrong_curve(),
    "another kind of key": token("RS256"),
    **{
        f"kid {kid[:20]!r}": token(header={"kid": kid})
        for kid in (
            "../../../../dev/null",
            "/etc/passwd",
            "file:///dev/null",
            "' UNION SELECT 'secret' -- ",
            f"{KID}'; DROP TABLE keys; --",
            f"{KID}\x00",
            f" {KID}",
            "",
            "k" * 9_000,
        )
    },
    **{
        f"kid as {kid!r}": _signed(json.dumps(claims()), {"alg": "ES256", "kid": kid})
        for kid in (1, True, [KID], {"kid": KID}, 1.5)
    },
    "crit": _signed(json.dumps(claims()), HEADER | {"crit": ["exp"]}),
    "crit b64": _signed(json.dumps(claims()), HEADER | {"crit": ["b64"], "b64": True}),
    "crit empty": _signed(json.dumps(claims()), HEADER | {"crit": []}),
    "b64 false": _signed(json.dumps(claims()), HEADER | {"b64": False}),
    "a header that is a list": _signed(json.dumps(claims()), ["ES256"]),
    "foreign issuer": token(iss="https://evil.example"),
    "issuer with a slash": token(iss=ISSUER + "/"),
    "issuer as a list": _signed(json.dumps(claims() | {"iss": [ISSUER]})),
    "no issuer": token(iss=None),
    "foreign audience": token(aud="another"),
    "a list of foreign audiences": token(aud=["another", "sleeper"]),
    "an audience as an object": token(aud={AUDIENCE: AUDIENCE}),
    "audiences of which one is a number": token(aud=[AUDIENCE, 1]),
    "no audience": token(aud=None),
    "an empty list of audiences": token(aud=[]),
    "expired": token(exp=NOW - 60),
    "expired in 1970": token(exp=-1),
    "not yet valid": token(nbf=NOW + 600),
    "issued in the future": token(iat=NOW + 600),
    "no exp": token(exp=None),
    "exp as a text": _signed(f'{WITHOUT}, "exp": "{NOW + 600}"}}'),
    **{
        f"exp {text[:12]}": _signed(f'{WITHOUT}, "exp": {text}}}')
        for text in (
            "true",
            "null",
            "[]",
            "1e400",
            "-1e400",
            "NaN",
            "Infinity",
            "9007199254740993",
            "1" + "0" * 400,
            "1" + "0" * 5_000,
        )
    },
    **{f"{name} {text[:9]}": _signed(_claims(f'"{name}": {text}')) for name in ("nbf", "iat") for text in (
        '"1"', "true", "null", "-1e400", "-1" + "0" * 400
    )},
    "no tenant": token(tenant_id=None),
    **{
        f"tenant {str(tenant)[:12]!r}": token(tenant_id=tenant)
        for tenant in (["acme"], {"acme": 1}, 7, True, "a/b", "{acme}", "acme\n", "\nacme", "", "a" * 129, "äcme", "*")
    },
    **{
        f"scope as {scope!r}": _signed(json.dumps(claims() | {"scope": scope}))
        for scope in (["sleep:write"], 7, None, True, {"sleep:write": 1})
    },
    **{
        f"scope with {text!r}": token(scope=f"sleep:write{text}")
        for text in ("\n", "\t", "\x00", '"', "\\", "\u00a0sleep:operate", "\u2003sleep:operate", "\x7f", "é")
    },
    "scope with half a character": _signed(_claims(r'"scp": 1').replace("sleep:read ", r"\ud800 ")),
    "no subject": token(sub=None),
    **{
        f"subject {str(sub)[:12]!r}": _signed(json.dumps(claims() | {"sub": sub}))
        for sub in (7, ["ops"], "", "a\x00", "a\r\nb", "\x1b[31m", "a\x85", "a" * 257, "\ud800")
    },
    "oversized": token(padding="x" * LONGEST_TOKEN),
    "a claim twice": _signed(_claims('"tenant_id": "globex"')),
    "a claim twice, spelled otherwise": _signed(_claims(r'"tenant_\u0069d": "globex"')),
    "a claim twice, further in": _signed(_claims('"other": {"a": 1, "a": 2}')),
    "a header twice": TWICE + f".{BODY}.{SIGNATURE}",
    "claims nested deeply": _signed(_claims('"a": ' + "[" * 5_000 + "]" * 5_000)),
    "a header nested deeply": f"{_b64(b'[' * 9_000)}.{BODY}.{SIGNATURE}",
    "claims that are a list": _signed("[]"),
    "claims that are no JSON": _signed("rubbish"),
    "claims in UTF-16": _signed(json.dumps(claims()).encode("utf-16")),
    "claims that are no text": _signed(b"\xff\xfe{}"),
    "padding": f"{GOOD}==",
    "padding within": f"{HEAD}=.{BODY}.{SIGNATURE}",
    "the other base64": f"{HEAD}.{BODY}.{'+/' + SIGNATURE[2:]}",
    "a space within": f"{HEAD}. {BODY}.{SIGNATURE}",
    "JWE": f"{GOOD}.{BODY}.{SIGNATURE}",
    "JWE without a key": f"{HEAD}..{BODY}.{BODY}.{SIGNATURE}",
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "dots": "..",
    "rubbish": "rubbish",
}  # fmt: skip
