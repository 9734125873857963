"""A body that has arrived is read without a wait; any other is waited for."""

import pytest
from fastapi import Request

from api.errors.problems import ProblemError
from api.http.bodies import MAX_BODY_BYTES, read_limited
from schemas.http.counted import WHOLE_BODY
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.hot.case import MODE, chunked
from tests.unit.schemas.http.wire import Wire, connect, send


@pytest.mark.parametrize("together", [True, False])
async def test_a_body_may_come_with_its_head_or_after_it(api: ApiOverFakes, *, together: bool) -> None:
    """The command is the same."""
    head, _, body = MODE.raw().partition(b"\r\n\r\n")
    wire = Wire()
    protocol, _ = connect(wire, api.app)
    await send(protocol, [MODE.raw()] if together else [head + b"\r\n\r\n", body[:3], body[3:]])
    assert wire.written.startswith(b"HTTP/1.1 202 ")
    assert len(api.log.published) == 1


async def test_who_waits_for_100_continue_gets_it_first(api: ApiOverFakes) -> None:
    """Also if the body is there."""
    wire = Wire()
    protocol, _ = connect(wire, api.app)
    await send(protocol, [MODE.headed(("Expect", "100-continue")).raw()])
    assert wire.written.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 ")


async def test_who_is_gone_sends_nothing(api: ApiOverFakes) -> None:
    """A command of a broken connection is not published, although its body is there."""
    protocol, _ = connect(Wire(), api.app)
    protocol.data_received(MODE.raw())
    protocol.connection_lost(None)
    await send(protocol, [])
    assert not api.log.published


async def test_chunks_are_bounded_though_they_are_there() -> None:
    """Their length is told nowhere."""
    scope = {"type": "http", "headers": [], WHOLE_BODY: lambda: bytes(MAX_BODY_BYTES + 1)}
    with pytest.raises(ProblemError) as raised:
        await read_limited(Request(scope))
    assert raised.value.code == "body_too_large"


async def test_chunks_that_are_there_are_read(api: ApiOverFakes) -> None:
    """As one body."""
    wire = Wire()
    protocol, _ = connect(wire, api.app)
    body = MODE.body or b""
    case = MODE.headed(("Transfer-Encoding", "chunked")).sending(chunked(body[:5], body[5:]))
    await send(protocol, [case.raw()])
    assert wire.written.startswith(b"HTTP/1.1 202 ")
