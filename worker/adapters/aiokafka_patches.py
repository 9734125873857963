"""Patches of aiokafka that uvloop and the topic checks need."""

from functools import wraps
from typing import Any

from aiokafka import client
from aiokafka.admin import client as admin_client
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

from schemas.kafka import topic_check as topics


def mend_aiokafka() -> None:
    """Make aiokafka handle a write to a connection that was just closed, on uvloop as on asyncio.

    asyncio raises an OSError there, or nothing. uvloop raises a RuntimeError, which aiokafka does not expect
    (aio-libs/aiokafka#1038). The error silently ends the tasks for metadata, heartbeats and fetches. So after an outage
    of the broker the process would live on and never work again.
    """
    send = AIOKafkaConnection.send
    if hasattr(send, "__wrapped__"):
        return

    @wraps(send)
    def mended(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - aiokafka's
        try:
            return send(connection, request, expect_response)
        except RuntimeError as error:
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(
                f"the connection to {connection.host}:{connection.port} broke: {error}"
            ) from error

    AIOKafkaConnection.send = mended


def create_no_topics() -> None:
    """Stop the Kafka clients of this process from creating a topic by asking for it."""
    topics.create_no_topics(client, admin_client)
