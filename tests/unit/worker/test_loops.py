"""aiokafka on uvloop, when a connection is closed under it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from sleepctl.runtime.event_loop import serve_until_stopped
from worker.adapters.aiokafka_patches import mend_aiokafka


class _Closed:
    """A writer whose transport is closed, as uvloop has it."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, _: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is mended for the other tests."""
    monkeypatch.setattr(AIOKafkaConnection, "send", AIOKafkaConnection.send)


async def test_a_write_to_a_closed_connection_is_a_broken_connection() -> None:
    """Which aiokafka expects, closes and makes anew; and it is mended once, however often that is asked for."""
    mend_aiokafka()
    mended: Callable[..., Any] = AIOKafkaConnection.send
    mend_aiokafka()
    assert AIOKafkaConnection.send is mended
    connection = AIOKafkaConnection("kafka", 9092)
    writer = connection._writer = _Closed()  # noqa: SLF001 - no socket here
    connection._reader = object()  # noqa: SLF001 - as above
    connection._read_task = asyncio.get_running_loop().create_future()  # noqa: SLF001 - as above
    with pytest.raises(KafkaConnectionError, match="kafka:9092 broke"):
        connection.send(ApiVersionRequest())
    assert writer.closed
    assert not connection.connected()


def test_whatever_serves_on_uvloop_has_it_mended() -> None:
    """Worker, API and both together."""

    async def main(_: asyncio.Event) -> bool:
        return hasattr(AIOKafkaConnection.send, "__wrapped__")

    assert serve_until_stopped(main)
