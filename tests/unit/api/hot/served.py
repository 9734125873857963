"""Serves one case over the bytes of a connection, and tells all that came of it."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import structlog

from sleepctl.runtime.logs import configure_logging
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.hot.answers import Answer
from tests.unit.api.hot.case import Case
from tests.unit.schemas.http.wire import Wire, connect, settle

_FRESH: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""Ids that are random; those of an idempotency key (version 5) are not."""
_VARIES: Final = frozenset({"timestamp", "ms", "exception"})
_COUNTED: Final = ("sleep_api_requests_total", "sleep_api_problems_total", "sleep_api_commands_total")
_MOST_TURNS: Final = 200
"""How often the application is let work at most: an answer is there after a few turns."""


@contextmanager
def logged_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Write log lines as a process does, and give them to the block."""
    root, written = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level, structlog.get_config()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", written)
        configure_logging("info", "json")
    try:
        yield written
    finally:
        root.handlers[:], level, configuration = before
        root.setLevel(level)
        structlog.configure(**configuration)


async def served(api: ApiOverFakes, case: Case, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Send the request; return the answer, the lines, what was published, spent and counted."""
    case.set_up(api)
    for _ in range(case.repeat - 1):
        await _sent(api, case)
    with logged_lines(monkeypatch) as written:
        answer, closed = await _sent(api, case)
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *headers = head.decode("latin-1").split("\r\n")
    told = {
        # The phrase behind the status is that of the Python release.
        "status": int(line.split()[1]),
        "headers": headers,
        "body": _document(body),
        "closed": closed,
        "log": [_line(text) for text in written.getvalue().splitlines()],
        "published": [value.decode() for _, _, value in api.log.published],
        "spent": {f"{payer.kind} {name}": cost for (payer, name), cost in api.limiter.spent.items()},
        "counted": _counted(api),
    }
    normal: Answer = json.loads(_FRESH.sub("(fresh id)", json.dumps(told)))
    return normal


async def _sent(api: ApiOverFakes, case: Case) -> tuple[bytes, bool]:
    """Send the request on a connection of its own; return the answer, and whether the server closed."""
    wire = Wire()
    protocol, _ = connect(wire, api.app)
    protocol.data_received(case.raw())
    for _ in range(_MOST_TURNS):
        await settle()
        if wire.written:
            break
    await settle()
    closed = wire.closed
    protocol.connection_lost(None)
    await settle()
    return wire.written, closed


def _document(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return a body as JSON where nothing of its text is lost by that."""
    text = body.decode()
    if not text:
        return text
    document = json.loads(text)
    return document if json.dumps(document, separators=(",", ":"), ensure_ascii=False) == text else text


def _line(text: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(text).items() if name not in _VARIES}


def _counted(api: ApiOverFakes) -> list[str]:
    lines = api.services.metrics.render().decode().splitlines()
    return [line for line in lines if line.startswith(_COUNTED) and not line.endswith(" 0.0")]
