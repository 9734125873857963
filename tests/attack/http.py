"""Memory by HTTP: requests that wait, and answers that nobody reads."""

import asyncio
from functools import partial
from typing import Final

from schemas.kafka.partitioner import partition_of
from tests.attack.attack import Attack, BrokenError
from tests.attack.target import MODE, PARTITIONS, Target, breaker
from tests.attack.wire import bearer, hold, pipeline, request, unread
from tests.support.records import Sent

# A few requests and their answers, and what an allocator keeps of them.
_CONNECTION_MIB: Final = 24.0
# 3,000 connections weigh some 60 MiB in uvicorn alone; their answers may weigh as much again.
_ANSWERS_MIB: Final = 160.0
# Some hundred connections, each with a few fields, and what the largest pieces leave in the allocator.
_HEADS_MIB: Final = 48.0
_HEADS: Final = 300
_TINY_FIELDS: Final = 10_000
_STALLS: Final = 5.0
_LEAST_DELAY: Final = 0.2
_BREAKERS: Final = 256
_LARGE_BYTES: Final = 50_000
_STREAM: Final = "/api/brain/sleep_events"
_POST: Final = request("POST", "/api/util/sleep", {"Content-Type": "application/json"}, b" " * 1_000)


async def _api_pipelined(target: Target) -> float:
    work = pipeline(target.door.url, request("GET", "/"), reads=True, seconds=target.seconds)
    return await target.growth(target.door.process, work, _CONNECTION_MIB)


async def _page_pipelined(target: Target) -> float:
    work = pipeline(target.page, request("GET", "/"), reads=True, seconds=target.seconds)
    return await target.growth(target.worker, work, _CONNECTION_MIB)


async def _page_metrics_unread(target: Target) -> float:
    work = pipeline(target.page, request("GET", "/metrics"), reads=False, seconds=target.seconds)
    return await target.growth(target.worker, work, _CONNECTION_MIB)


async def _api_unread(target: Target) -> float:
    work = pipeline(target.door.url, request("GET", "/openapi.json"), reads=False, seconds=target.seconds)
    return await target.growth(target.door.process, work, _CONNECTION_MIB)


async def _behind_stream(target: Target) -> float:
    first = request("GET", _STREAM, bearer(target.token(target.tenant(), "sleep:read")))
    work = pipeline(target.door.url, request("GET", "/"), first=first, reads=True, seconds=target.seconds)
    return await target.growth(target.door.process, work, _CONNECTION_MIB)


async def _behind_streams(target: Target) -> float:
    first = request("GET", _STREAM, bearer(target.token(target.tenant(), "sleep:read")))
    raw = request("GET", "/")

    async def many() -> None:
        sends = (pipeline(target.door.url, raw, first=first, most_bytes=1_000_000, reads=True) for _ in range(8))
        await asyncio.gather(*sends)

    return await target.growth(target.door.process, many(), _CONNECTION_MIB)


async def _bodies_pipelined(target: Target) -> float:
    return await target.growth(
        target.door.process, pipeline(target.door.url, _POST, reads=True, seconds=target.seconds), _CONNECTION_MIB
    )


async def _fold_stalls(target: Target) -> float:
    quiet = max(await target.fold_delay(), _LEAST_DELAY)
    attack = asyncio.create_task(pipeline(target.page, request("GET", "/"), reads=True, seconds=target.seconds))
    longest = 0.0
    try:
        while not attack.done():
            longest = max(longest, await target.fold_delay())
    finally:
        attack.cancel()
        await asyncio.gather(attack, return_exceptions=True)
    return longest / quiet


async def _tiny_fields(target: Target, *, page: bool = False) -> float:
    head = b"GET / HTTP/1.1\r\nHost: api\r\n" + b"ab:c\r\n" * _TINY_FIELDS
    url, process = (target.page, target.worker) if page else (target.door.url, target.door.process)
    return await target.growth(process, hold(url, [head] * _HEADS, target.seconds), _HEADS_MIB)


async def _documents_unread(target: Target) -> float:
    work = unread(target.door.url, request("GET", "/openapi.json"), 3_000)
    return await target.growth(target.door.process, work, _ANSWERS_MIB)


async def _modes_unread(target: Target) -> float:
    tenant = target.tenant()
    partition = partition_of(tenant, PARTITIONS)
    names = (f"{number:03}{'n' * 190}" for number in range(_BREAKERS))
    await target.installation.write(
        Sent(tenant, breaker(tenant, name=name, cause="\N{BRAIN}" * 250), partition) for name in names
    )
    await target.installation.caught_up()
    async with target.door.client(tenant) as client:
        size = len((await client.get(MODE)).content)
    if size < _LARGE_BYTES:
        raise BrokenError(f"the document has only {size} bytes")
    raw = request("GET", MODE, bearer(target.token(tenant, "sleep:read")))
    return await target.growth(target.door.process, unread(target.door.url, raw, 3_000), _ANSWERS_MIB)


ATTACKS: Final = (
    Attack("1", "pipelined requests without a token, API", _CONNECTION_MIB, "MiB more", _api_pipelined),
    Attack("1", "pipelined requests, the worker's page", _CONNECTION_MIB, "MiB more", _page_pipelined),
    Attack(
        "1", "pipelined requests to the worker's page, fold delay", _STALLS, "times as long", _fold_stalls, short=False
    ),
    Attack("1", "pipelined requests behind an open event stream", _CONNECTION_MIB, "MiB more", _behind_stream),
    Attack(
        "1", "pipelined requests behind eight event streams", _CONNECTION_MIB, "MiB more", _behind_streams, short=False
    ),
    Attack("1", "pipelined requests with bodies", _CONNECTION_MIB, "MiB more", _bodies_pipelined, short=False),
    Attack("1", "300 heads of 10,000 tiny fields that do not end, API", _HEADS_MIB, "MiB more", _tiny_fields),
    Attack(
        "1",
        "300 heads of 10,000 tiny fields that do not end, the worker's page",
        _HEADS_MIB,
        "MiB more",
        partial(_tiny_fields, page=True),
        short=False,
    ),
    Attack("1", "pipelined documents that nobody reads", _CONNECTION_MIB, "MiB more", _api_unread),
    Attack(
        "1",
        "pipelined metrics of the worker that nobody reads",
        _CONNECTION_MIB,
        "MiB more",
        _page_metrics_unread,
        short=False,
    ),
    Attack("4", "3,000 unread answers of /openapi.json", _ANSWERS_MIB, "MiB more", _documents_unread),
    Attack("4", "3,000 unread answers of a large tenant", _ANSWERS_MIB, "MiB more", _modes_unread, short=False),
)
