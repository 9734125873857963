"""Places that everybody shares: connections, turns of the pages, and requests in flight."""

import asyncio
import resource
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from tests.attack.attack import Attack, BrokenError
from tests.attack.target import MODE, SLEEP, Target
from tests.attack.wire import answer, ask, bearer, hold, request

_CLOSE: Final = {"Connection": "close"}
# What is said to whom there is no place for; whatever else is answered was served.
_NO_PLACE: Final = (b'"code":"overloaded"', b'"code":"too_many_connections"', b'"code":"too_many_in_flight"')
_ASKED: Final = 10
_SLOW_SUBJECTS: Final = 2
_SLOW_BODIES: Final = 256
_ALL_SUBJECTS: Final = 16
_HOLD_SECONDS: Final = 8.0
# Orchestrators give a second. On two busy cores that the attackers share it is this, or as many times
# as long as a probe takes in quiet.
_PROBE_SECONDS: Final = 10.0
_SLOWER: Final = 30.0
_ANSWER_SECONDS: Final = 100.0
_PROBES: Final = [request("GET", path, _CLOSE) for path in ("/healthz", "/readyz")]
_FLOODERS: Final = 30
_OF_FLOODER: Final = 20
_INNOCENT: Final = "127.9.9.9"
_CONNECTIONS: Final = 12_000
_WORKER_CONNECTIONS: Final = 6_000
_ADDRESSES: Final = [f"127.1.0.{number}" for number in range(1, 21)]
# A connection that says nothing takes some 20 KiB: an API holds 5,000 of one address and 8,192 in all, a worker 512.
_OF_ADDRESS_MIB: Final = 144.0
_SILENT_MIB: Final = 208.0
_PAGE_MIB: Final = 48.0
_FILES: Final = 30_000


async def _slow_bodies(target: Target, *, everybody: bool = False) -> float:
    """Return how many reads of others are refused while bodies arrive that never end.

    Subjects of one tenant use up its places, or those of as many tenants use up everybody's.
    """
    tenant, innocent = target.tenant(), target.tenant()
    count = _ALL_SUBJECTS if everybody else _SLOW_SUBJECTS
    tokens = [
        target.token(target.tenant() if everybody else tenant, "sleep:write", f"slow-{number}")
        for number in range(count)
    ]
    slow = [
        b"%b%b" % (request("POST", SLEEP, bearer(token) | {"Content-Length": "1000"}), b"{")
        for token in tokens
        for _ in range(_SLOW_BODIES)
    ]
    token = target.token(innocent if everybody else tenant, "sleep:read", "honest")
    read = request("GET", MODE, bearer(token) | _CLOSE)
    ready = asyncio.Event()
    attack = hold(target.door.url, slow, _HOLD_SECONDS, ready=ready)
    return await _while(attack, _refused(target.door.url, [read], ""), ready)


async def _refused(url: str, raws: list[bytes], address: str = _INNOCENT, seconds: float = _ANSWER_SECONDS) -> float:
    """Return how many of some requests find no place, or no answer in time."""
    refused = 0
    for number in range(_ASKED):
        reply = await answer(url, raws[number % len(raws)], seconds, address)
        refused += not reply or any(code in reply for code in _NO_PLACE)
        await asyncio.sleep(0.1)
    return float(refused)


async def _patience(url: str) -> float:
    """Return how long a probe may take: a multiple of what it takes in quiet."""
    began = time.monotonic()
    for _ in range(_ASKED):
        await answer(url, _PROBES[0])
    return max(_PROBE_SECONDS, _SLOWER * (time.monotonic() - began) / _ASKED)


async def _while(
    attack: Coroutine[Any, Any, object], asked: Coroutine[Any, Any, float], ready: asyncio.Event | None = None
) -> float:
    """Return what is found while an attack goes on; with `ready` once that is set."""
    with _many_files():
        task = asyncio.create_task(attack)
        try:
            if ready is not None:
                await ready.wait()
            await asyncio.sleep(1)
            if task.done():
                task.result()
            return await asked
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(task, return_exceptions=True)


@contextmanager
def _many_files() -> Iterator[None]:
    """Let this process have as many connections as an attacker would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _flood(url: str, path: str) -> None:
    """Ask for a page from many addresses, each with more connections than may wait."""

    async def one(address: str) -> None:
        while True:
            await ask(url, request("GET", path), address=address)

    addresses = [f"127.2.0.{number}" for number in range(1, _FLOODERS + 1)]
    await asyncio.gather(*(one(address) for address in addresses for _ in range(_OF_FLOODER)))


async def _flooded(target: Target, *, page: bool) -> float:
    """Return how many probes and status pages are refused to another address, or come too late."""
    url = target.page if page else target.door.url
    patience = await _patience(url)
    status = await _while(_flood(url, "/status"), _refused(url, [request("GET", "/status", _CLOSE)]))
    path = "/healthz" if page else "/status"
    return status + await _while(_flood(url, path), _refused(url, _PROBES, seconds=patience))


async def _silent(target: Target, *, page: bool, addresses: list[str]) -> float:
    """Return how many probes are unanswered while connections say nothing, and more if others are refused too."""
    url, process = (target.page, target.worker) if page else (target.door.url, target.door.process)
    count, most = (
        (_WORKER_CONNECTIONS, _PAGE_MIB)
        if page
        else (_CONNECTIONS, _SILENT_MIB if len(addresses) > 1 else _OF_ADDRESS_MIB)
    )
    ready = asyncio.Event()
    attack = hold(url, [b""] * count, _HOLD_SECONDS, addresses, ready)
    asked = [*_PROBES, request("GET", "/version", _CLOSE)] if len(addresses) == 1 else _PROBES
    patience = await _patience(url)
    began = time.monotonic()
    refused = 0.0

    async def both() -> None:
        nonlocal refused
        refused = await _while(attack, _refused(url, asked, seconds=patience), ready)

    grown = await target.growth(process, both(), most)
    if grown > most:
        raise BrokenError(f"the process grew by {grown:.0f} MiB in {time.monotonic() - began:.0f} s")
    return refused


ATTACKS: Final = (
    Attack("5", "512 slow bodies of one tenant, reads of its other callers", 0, "refused", _slow_bodies, seconds=300),
    Attack(
        "5",
        "4,096 slow bodies of 16 tenants, reads of another",
        0,
        "refused",
        partial(_slow_bodies, everybody=True),
        short=False,
    ),
    Attack(
        "1",
        "probes while 30 addresses flood the worker's page",
        0,
        "refused or late",
        partial(_flooded, page=True),
        short=False,
        seconds=600,
    ),
    Attack(
        "1",
        "probes while 30 addresses flood the API",
        0,
        "refused or late",
        partial(_flooded, page=False),
        short=False,
        seconds=600,
    ),
    Attack(
        "1",
        "6,000 silent connections from one address, probes of the worker's page",
        0,
        "refused or late",
        partial(_silent, page=True, addresses=_ADDRESSES[:1]),
    ),
    Attack(
        "1",
        "12,000 silent connections from one address, probes and pages of the API",
        0,
        "refused or late",
        partial(_silent, page=False, addresses=_ADDRESSES[:1]),
        short=False,
    ),
    Attack(
        "1",
        "12,000 silent connections from 20 addresses, probes of the API",
        0,
        "refused or late",
        partial(_silent, page=False, addresses=_ADDRESSES),
        short=False,
    ),
)
