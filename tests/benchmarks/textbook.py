"""The textbook way, to compare with: a Faust agent with one Redis GET, one SET and one send for each event.

It does the same job with the same fold, one event at a time, as Faust's own tutorial would have it.
Run as a process: `python -m tests.benchmarks.textbook` with the settings of an installation.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import faust
from faust.app.base import BootStrategy
from faust.streams import Stream
from faust.types import StreamT
from pydantic_core import to_json
from redis.asyncio import Redis
from yarl import URL

from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import pack, unpack
from schemas.settings import Settings
from schemas.settings_loader import load_settings
from schemas.wire.cloudevents import parse
from schemas.wire.events import RulesEvent
from schemas.wire.tenant_view import state_record
from worker.fold.fold import At, fold


class _NoWeb(BootStrategy):
    enable_web = False


def build(settings: Settings) -> faust.App:
    """Return the app; its group and its Redis keys are its own."""
    app = faust.App(
        f"{settings.consumer_group}-textbook",
        broker=[URL(f"kafka://{settings.kafka_bootstrap}")],
        autodiscover=False,
        store="memory://",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.boot_strategy = _NoWeb(app)
    redis: Redis = Redis.from_url(settings.redis_address)
    states = app.topic(settings.topics.states, value_serializer="raw", key_serializer="raw", internal=False)
    rules = [BUILT_IN_RULES]
    terms = BUILT_IN_RULES.terms

    @app.agent(app.topic(settings.topics.events, value_serializer="raw", key_serializer="raw", internal=False))
    async def apply(stream: StreamT[bytes]) -> AsyncIterator[None]:
        async for item in cast("Stream[bytes]", stream).events():
            message = item.message
            event = parse(cast("bytes", item.value))
            if isinstance(event, RulesEvent):
                continue
            key = f"{settings.redis_prefix}:textbook:{event.subject}"
            packed: Any = await redis.get(key)
            record = None if packed is None else unpack(packed, rules)
            at = At(message.partition, message.offset, round(message.timestamp * 1000))
            folded = fold(record, event, {}, rules, at)
            if folded.record is not None:
                await redis.set(key, pack(folded.record, terms.schedule))
                value = to_json(state_record(event.subject, message.partition, folded.record, terms))
                _ = await states.send(key=event.subject.encode(), value=value)
            yield

    return app


async def _main() -> None:
    app = build(load_settings())
    await app.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
