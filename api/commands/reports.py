"""Reports of breakers over HTTP, in the formats of their libraries. `schemas.formats` reads them."""

import re
from collections.abc import Iterable
from typing import Final

from api.commands.cloudevents import in_utf_8
from api.errors.problems import ProblemError
from api.http.json_bounds import EVENT_PARTS, REPORT_MEMBERS, require_bounded
from schemas.formats.places import Message
from schemas.formats.read import read
from schemas.formats.report import Reading
from schemas.formats.settings import HttpFormat
from schemas.wire.cloudevents import UndecodableError

_JSON: Final = re.compile(r"|[a-z]+/([a-z0-9.!#$&^_-]+\+)?json")


def read_reports(
    settings: HttpFormat,
    media_type: str,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    *,
    caller: str | None,
    id_: str,
) -> Reading:
    """Return the breaker events in a request.

    Args:
        settings: the format, and where the tenant, the breaker and the instance are found.
        media_type: of the body, without parameters, in lower case; empty if the request names none.
        headers: of the request, names in lower case; a repeated header is repeated.
        body: the body.
        caller: the tenant that the request is about, if there is one.
        id_: the first part of the events' ids.

    Raises:
        ProblemError: `unsupported_media_type` or `malformed_request` for a body that is not JSON, or `invalid_request`
            that names the format and the wrong field.
    """
    require_bounded(in_utf_8(body), EVENT_PARTS, REPORT_MEMBERS)
    message = Message(
        body,
        [(name.decode("latin-1"), value) for name, value in headers],
        caller=caller,
        source=f"/api/breakers/{settings.format}",
        id=id_,
    )
    try:
        return read(message, settings)
    except UndecodableError as error:
        if error.code == "invalid_event":
            raise ProblemError("invalid_request", str(error), errors=error.errors) from None
        if _JSON.fullmatch(media_type) is None:
            raise ProblemError("unsupported_media_type", "send application/json") from None
        raise ProblemError("malformed_request", str(error)) from None
