"""An answer of the gate."""

import json
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What is sent: a status, headers in lower case, and a body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""


def json_answer(status: int, document: Any, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:  # noqa: ANN401 - JSON
    """Return a document as an answer."""
    body = json.dumps(document, separators=(",", ":")).encode()
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return Answer(status, [*fixed, *headers], body)
