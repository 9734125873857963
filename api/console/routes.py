"""`/console`: the files of the console. They need no token; what they ask the API for does."""

import re
from typing import Final

from fastapi import APIRouter, Request, Response

from api.console.files import START, File, read_files
from api.errors.problems import ProblemError

PATH: Final = "/console"
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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


def console_router() -> APIRouter:
    """Return the routes of the console, with its files read.

    Raises:
        ValueError: if the files are incomplete or too large.
    """
    files = read_files()
    router = APIRouter(prefix=PATH, include_in_schema=False)

    @router.get("")
    async def without_slash() -> Response:
        """Lead to the start page, whose references are relative to its folder."""
        return Response(status_code=_MOVED, headers={"location": "console/"})

    @router.get("/{path:path}")
    async def file(request: Request, path: str) -> Response:
        """Send a file of the console, or say that the reader has it."""
        wanted = files.get(path or START)
        if wanted is None:
            raise ProblemError("not_found", "the console has no such file; it begins at /console/")
        return _answer(wanted, request)

    return router


def _answer(file: File, request: Request) -> Response:
    packed = any(_GZIP.fullmatch(coding) for coding in request.headers.get("accept-encoding", "").split(","))
    etag = file.packed_etag if packed else file.etag
    headers = HEADERS | {"etag": etag}
    if _known(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(file.packed if packed else file.plain, headers=headers, media_type=file.media_type)


def _known(if_none_match: str, etag: str) -> bool:
    """Tell whether the reader has these bytes. A proxy may have made the tag weak (RFC 9110, section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
