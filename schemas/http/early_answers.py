"""Early answers: to bytes that never become a request of a route, as problem documents (RFC 9457).

A refusal is something else: what the fold does with an event.
"""

import uuid
from http import HTTPStatus
from typing import Final, NamedTuple

from pydantic_core import to_json

PROBLEM_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:somabrain-sleep:problem:"


class EarlyAnswer(NamedTuple):
    """A kind of early answer: the HTTP status, the code that programs read, and the title for people."""

    status: HTTPStatus
    code: str
    title: str
    retry_after: int | None = None
    """When to try again, in seconds, if that can help."""

    def answer(self, detail: str) -> bytes:
        """Return the whole answer, head and body, after which the connection closes.

        Args:
            detail: what happened this time, and what to do.
        """
        headers, body = self.message(detail)
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (self.status.value, self.status.phrase.encode(), head, body)

    def message(self, detail: str, retry_after: int | None = None) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return the headers and the body of the answer, after which the connection closes.

        Args:
            detail: what happened this time, and what to do.
            retry_after: when to try again, in seconds, where it is not as always for this kind.
        """
        retry_after = retry_after or self.retry_after
        request_id = str(uuid.uuid4())
        body = to_json(
            {
                "type": f"{TYPE_PREFIX}{self.code}",
                "title": self.title,
                "status": self.status.value,
                "detail": detail,
                "instance": f"urn:uuid:{request_id}",
                "code": self.code,
            }
        )
        headers = [
            (b"content-type", PROBLEM_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        if retry_after is not None:
            headers.append((b"retry-after", b"%d" % retry_after))
        return headers, body


MALFORMED: Final = EarlyAnswer(HTTPStatus.BAD_REQUEST, "malformed_request", "The request is malformed")
HEAD_TOO_LARGE: Final = EarlyAnswer(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "The head of the request is too large"
)
METHOD_NOT_IMPLEMENTED: Final = EarlyAnswer(
    HTTPStatus.NOT_IMPLEMENTED, "method_not_implemented", "The server does not implement this method"
)
VERSION_NOT_SUPPORTED: Final = EarlyAnswer(
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "http_version_not_supported", "The server does not speak this HTTP version"
)
TOO_MANY_UNREAD: Final = EarlyAnswer(
    HTTPStatus.TOO_MANY_REQUESTS, "too_many_unread_answers", "Too much of earlier answers is unread"
)
TOO_MANY_CONNECTIONS: Final = EarlyAnswer(
    HTTPStatus.SERVICE_UNAVAILABLE, "too_many_connections", "The server has too many connections", 5
)
OVERLOADED: Final = EarlyAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "The server has too much to do")
