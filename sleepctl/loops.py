"""What our event loop needs of the libraries on it."""

from functools import wraps
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


def mend_aiokafka() -> None:
    """Have aiokafka take a write to a connection that has just been closed for what it is on uvloop too.

    asyncio raises an OSError there, or nothing, and uvloop a RuntimeError, which aiokafka does not expect
    (aio-libs/aiokafka#1038). It ends the tasks that keep up the metadata, the heartbeats and the fetches, without a
    word and for ever: after an outage of the broker a process would go on living and never work again.
    """
    send = AIOKafkaConnection.send
    if hasattr(send, "__wrapped__"):
        return

    @wraps(send)
    def mended(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:  # noqa: ANN401 - aiokafka's
        try:
            return send(connection, request, expect_response)
        except RuntimeError as error:
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(
                f"the connection to {connection.host}:{connection.port} broke: {error}"
            ) from error

    AIOKafkaConnection.send = mended
