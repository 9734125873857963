"""`sleepctl token`: prints a token for development, signed with a key of your own."""

import os
from pathlib import Path
from typing import Annotated

import typer

from schemas.environment import flaw
from sleepctl.io.signing_keys import SigningKey, TokenClaims
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, check_tenant, read_file
from sleepctl.ui.output import Json, print_json

ALL_SCOPES = "sleep:read sleep:write sleep:policy"
_MAX_TTL_SECONDS = 31 * 86_400


def token(  # noqa: PLR0913 - a token has these claims
    *,
    tenant: Annotated[str | None, typer.Option(help="The token's tenant.")] = None,
    scope: Annotated[
        str, typer.Option(help="Scopes, separated by spaces; sleep:operate is for operators.")
    ] = ALL_SCOPES,
    subject: Annotated[str, typer.Option(help="Who calls; the actor in the audit.")] = "developer",
    ttl: Annotated[int, typer.Option(help="Seconds until it expires.", min=1, max=_MAX_TTL_SECONDS)] = 3600,
    key: Annotated[Path | None, typer.Option(help="The private key to sign with (PEM).", dir_okay=False)] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(help="Create a key first: key.pem and jwks.json in this folder.", file_okay=False),
    ] = None,
    issuer: Annotated[str | None, typer.Option(envvar="SLEEP_JWT_ISSUER", help="`iss`.")] = None,
    audience: Annotated[str | None, typer.Option(envvar="SLEEP_JWT_AUDIENCE", help="`aud`.")] = None,
    tenant_claim: Annotated[
        str, typer.Option(envvar="SLEEP_JWT_TENANT_CLAIM", help="The claim that holds the tenant.")
    ] = "tenant_id",
    json: Json = False,
) -> None:
    """Print a token for development. Real tokens come from the installation's own issuer."""
    missing = [
        name
        for name, value in (
            ("--issuer or SLEEP_JWT_ISSUER", issuer),
            ("--audience or SLEEP_JWT_AUDIENCE", audience),
        )
        if not value
    ]
    if issuer is None or audience is None or missing:
        raise CommandError(f"needed: {', '.join(missing)}", WRONG_SETTINGS)
    for name, value in (("issuer", issuer), ("audience", audience), ("tenant-claim", tenant_claim)):
        if (reason := flaw(value)) is not None:
            variable = f"SLEEP_JWT_{name.upper().replace('-', '_')}"
            raise CommandError(f"--{name} or {variable}: {reason}", WRONG_SETTINGS)
    if (key is None) == (new_key is None):
        raise CommandError("give either --key FILE or --new-key DIR", WRONG_SETTINGS)
    if tenant is not None:
        check_tenant(tenant, "--tenant")
    signing = SigningKey.from_pem(read_file(key)) if key is not None else SigningKey.generate()
    claims = TokenClaims(issuer, audience, subject, scope, tenant, ttl, tenant_claim)
    if new_key is not None:
        write_key(signing, new_key)
        typer.echo(f"wrote {new_key / 'key.pem'} and {new_key / 'jwks.json'}", err=True)
    signed = signing.token(claims)
    if json:
        print_json({"token": signed, "tenant": tenant, "scope": scope, "subject": subject, "ttl_seconds": ttl})
    else:
        typer.echo(signed)


def write_key(signing: SigningKey, folder: Path) -> None:
    """Write `key.pem` and `jwks.json`, readable by their owner only, into a folder that is made if need be.

    Raises:
        CommandError: if one of them is there already, or cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in (("key.pem", signing.pem()), ("jwks.json", signing.jwks())):
            with open(folder / name, "xb", opener=_private) as file:
                file.write(content)
    except FileExistsError as error:
        what = f"{error.filename} is there already; sign with the old key by --key, or name another folder"
        raise CommandError(what) from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
