"""`/console`: the files of the console. They need no token; what they ask the API for does."""

import re
from hashlib import sha256
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.console.files import START, File, read_files
from api.console.issuer import Issuer, IssuerError
from api.console.sign_in_codes import SignInCodes
from api.errors.problems import ProblemError
from api.http import responses
from api.http.dependencies import require_once

PATH: Final = "/console"
SIGN_IN: Final = "sign-in"
CODE_HEADER: Final = "Sleep-Sign-In-Code"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src {}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CONTENT_SECURITY_POLICY: Final = _POLICY.format("'self'")
"""Nothing runs, and nothing is asked, but files and endpoints of this address."""
HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Asked for with each load, so that a page never mixes files of two releases; unchanged ones are a 304.
    "cache-control": "no-cache",
    "vary": "accept-encoding",
}
_GZIP: Final = re.compile(r"\s*gzip\s*(;\s*q=(1(\.0*)?|0\.\d*[1-9]\d*)\s*)?", re.IGNORECASE)
_NOT_MODIFIED: Final = 304
_MOVED: Final = 308


def console_router(issuer: Issuer | None = None, codes: SignInCodes | None = None) -> APIRouter:
    """Return the routes of the console, with its files read.

    Args:
        issuer: signs readers in; without one they paste a token.
        codes: sign readers in once each; only the embedded installation has them.

    Raises:
        ValueError: if the files are incomplete or too large.
    """
    files = read_files()
    router = APIRouter(prefix=PATH, include_in_schema=False)

    @router.get("")
    async def without_slash() -> Response:
        """Lead to the start page, whose references are relative to its folder."""
        return Response(status_code=_MOVED, headers={"location": "console/"})

    @router.get(f"/{SIGN_IN}")
    async def ways() -> Response:
        """Say how a reader signs in."""
        return responses.document(await _ways(issuer))

    if codes is not None:

        @router.post(f"/{SIGN_IN}")
        async def redeem(request: Request) -> Response:
            """Give a token for a code. The code is in a header, so no body is read before it was looked at."""
            require_once(request, CODE_HEADER)
            token = codes.redeem(request.headers.get(CODE_HEADER, ""))
            if token is None:
                raise ProblemError("invalid_token", "the link was used before, or it is older than five minutes")
            return responses.document({"token": token})

    @router.get("/{path:path}")
    async def file(request: Request, path: str) -> Response:
        """Send a file of the console, or say that the reader has it."""
        name = path or START
        wanted = files.get(name)
        if wanted is None:
            raise ProblemError("not_found", "the console has no such file; it begins at /console/")
        return _answer(wanted, request, await _policy(issuer) if name == START else CONTENT_SECURITY_POLICY)

    return router


async def _ways(issuer: Issuer | None) -> dict[str, Any]:
    if issuer is None:
        return {"issuer": None}
    known = {"issuer": issuer.name, "client_id": issuer.client_id, "resource": issuer.resource}
    try:
        found = await issuer.discover()
    except IssuerError as error:
        return known | {"server": None, "problem": str(error)}
    return known | {"server": found.document, "scopes": found.scopes, "problem": None}


async def _policy(issuer: Issuer | None) -> str:
    """Return the policy of the start page, which is that of all that runs in it. No issuer that answers, no origin."""
    if issuer is None:
        return CONTENT_SECURITY_POLICY
    try:
        found = await issuer.discover()
    except IssuerError:
        return CONTENT_SECURITY_POLICY
    return _POLICY.format(" ".join(("'self'", *found.origins)))


def _answer(file: File, request: Request, policy: str) -> Response:
    packed = any(_GZIP.fullmatch(coding) for coding in request.headers.get("accept-encoding", "").split(","))
    etag = file.packed_etag if packed else file.etag
    if policy != CONTENT_SECURITY_POLICY:
        # Chromium keeps the policy that it has when a 304 brings another one, so the tag changes with the policy.
        etag = f'{etag[:-1]}-{sha256(policy.encode()).hexdigest()[:16]}"'
    headers = HEADERS | {"etag": etag, "content-security-policy": policy}
    if _known(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(file.packed if packed else file.plain, headers=headers, media_type=file.media_type)


def _known(if_none_match: str, etag: str) -> bool:
    """Tell whether the reader has these bytes. A proxy may have made the tag weak (RFC 9110, section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
