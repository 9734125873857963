"""`sleepctl token` and the keys behind it."""

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from api.security.jwks import parse_jwks
from sleepctl.io.signing_keys import SigningKey, TokenClaims
from sleepctl.ui.errors import CommandError
from tests.unit.sleepctl.conftest import Run

ISSUED = {"SLEEP_JWT_ISSUER": "urn:test", "SLEEP_JWT_AUDIENCE": "sleep"}


def _verified(token: str, jwks: bytes) -> dict[str, object]:
    keys = parse_jwks(jwks)
    header = jwt.get_unverified_header(token)
    key = keys[header["kid"], header["alg"]]
    claims: dict[str, object] = jwt.decode(token, key, [key.algorithm_name], audience="sleep", issuer="urn:test")
    return claims


def test_a_new_key_signs_a_token_that_its_jwks_verifies(run: Run, tmp_path: Path) -> None:
    """The token holds what was asked for."""
    folder = tmp_path / "keys"
    outcome = run(
        "token", "--tenant", "acme", "--scope", "sleep:read", "--subject", "me", "--ttl", "60",
        "--new-key", str(folder), **ISSUED,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    claims = _verified(outcome.out.strip(), (folder / "jwks.json").read_bytes())
    assert {name: claims[name] for name in ("tenant_id", "scope", "sub")} == {
        "tenant_id": "acme",
        "scope": "sleep:read",
        "sub": "me",
    }
    assert int(str(claims["exp"])) - int(str(claims["iat"])) == 60


def test_a_new_key_is_readable_by_its_owner_only(run: Run, tmp_path: Path) -> None:
    """Whatever the umask, both files get 0600."""
    run("token", "--new-key", str(tmp_path), **ISSUED)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {
        "key.pem": "0o600",
        "jwks.json": "0o600",
    }


def test_an_existing_key_is_never_replaced(run: Run, tmp_path: Path) -> None:
    """Tokens that were signed with it would stop to work."""
    (tmp_path / "key.pem").write_text("mine")
    outcome = run("token", "--new-key", str(tmp_path), **ISSUED)
    assert outcome.code == 1
    assert "is there already" in outcome.err
    assert (tmp_path / "key.pem").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    """A file stands where the folder's parent should."""
    (tmp_path / "file").touch()
    outcome = run("token", "--new-key", str(tmp_path / "file" / "keys"), **ISSUED)
    assert outcome.code == 1
    assert "Not a directory" in outcome.err


def test_an_existing_key_signs_again(run: Run, tmp_path: Path) -> None:
    """The key that --new-key made serves --key."""
    run("token", "--new-key", str(tmp_path), **ISSUED)
    outcome = run("token", "--key", str(tmp_path / "key.pem"), "--json", **ISSUED)
    document = json.loads(outcome.out)
    assert document["tenant"] is None
    assert "tenant_id" not in _verified(document["token"], (tmp_path / "jwks.json").read_bytes())


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("--new-key", "x"), {"SLEEP_JWT_ISSUER": "urn:test"}, "--audience or SLEEP_JWT_AUDIENCE"),
        ((), ISSUED, "either --key FILE or --new-key DIR"),
        (("--key", "a", "--new-key", "b"), ISSUED, "either --key FILE or --new-key DIR"),
        (("--new-key", "x", "--tenant", "no tenant"), ISSUED, "--tenant must be 1 to 128 of"),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_what_is_wanted(
    run: Run, arguments: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    """Nothing is written."""
    outcome = run("token", *arguments, **environment)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


@pytest.mark.parametrize("name", ["ISSUER", "AUDIENCE", "TENANT_CLAIM"])
@pytest.mark.parametrize("value", ["'urn:test'", "urn:test\n", " "])
def test_a_claim_that_nobody_can_mean_is_refused_by_its_variable(run: Run, name: str, value: str) -> None:
    """An API of the same environment would refuse it, too."""
    given = {"SLEEP_JWT_ISSUER": "urn:test", "SLEEP_JWT_AUDIENCE": "sleep", f"SLEEP_JWT_{name}": value}
    outcome = run("token", "--key", "key.pem", **given)
    assert outcome.code == 2
    assert f" or SLEEP_JWT_{name}: it " in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_key_file_that_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    """The system's own reason stands beside the name."""
    outcome = run("token", "--key", str(tmp_path / "none.pem"), **ISSUED)
    assert outcome.code == 1
    assert outcome.err == f"sleepctl: {tmp_path / 'none.pem'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        (rsa.generate_private_key(65537, 2048), "RS256"),
    ],
)
def test_each_kind_of_key_signs_with_its_algorithm(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, algorithm: str
) -> None:
    """The API accepts all three."""
    signing = SigningKey.from_pem(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    token = signing.token(TokenClaims("urn:test", "sleep", "me", "", "acme", 60))
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    assert _verified(token, signing.jwks())["tenant_id"] == "acme"


def _pem(key: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"nonsense", "not hold a private key in PEM"),
        (_pem(ec.generate_private_key(ec.SECP256R1()), b"hunter2"), "without a password"),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "ES256 needs P-256"),
        (_pem(x25519.X25519PrivateKey.generate()), "neither EC P-256, Ed25519 nor RSA"),
    ],
)
def test_a_key_of_no_use_is_refused(pem: bytes, message: str) -> None:
    """The text says what would do."""
    with pytest.raises(CommandError, match=message):
        SigningKey.from_pem(pem)
