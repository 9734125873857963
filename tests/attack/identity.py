"""Who may what: forged tokens, policy servers that lie, ids of other tenants."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Final

import httpx

from schemas.kafka.partitioner import partition_of
from tests.attack.attack import Attack, BrokenError
from tests.attack.target import MODE, PARTITIONS, Target
from tests.attack.wire import ask, bearer, request
from tests.support import tokens
from tests.support.forged_tokens import ATTACKS as TOKENS
from tests.support.forged_tokens import GOOD
from tests.support.lying_opa import LIES, LyingOpa
from tests.support.sse import Event, events

_OK: Final = 200
_UNAUTHORISED: Final = 401
_QUESTIONS: Final = 120
_AT_ONCE: Final = 6
_STREAM: Final = "/api/brain/sleep_events"
_LISTEN_SECONDS: Final = 2.0


async def _tokens(target: Target) -> float:
    """Return how many forged or senseless tokens are not answered with 401."""
    jwks = target.installation.directory / "forged.json"
    await asyncio.to_thread(jwks.write_bytes, tokens.jwks())
    door = await target.installation.open_door(
        SLEEP_JWT_JWKS=str(jwks), SLEEP_JWT_ISSUER=tokens.ISSUER, SLEEP_JWT_AUDIENCE=tokens.AUDIENCE
    )
    try:
        if (status := await ask(door.url, request("GET", MODE, bearer(GOOD)))) != _OK:
            raise BrokenError(f"a good token is answered with {status}")
        # What is no header at all never gets so far; `test_attacks_http.py` has those.
        sendable = {name: token for name, token in TOKENS.items() if token.isascii() and token.isprintable()}
        taken = [
            name
            for name, token in sendable.items()
            if await ask(door.url, request("GET", MODE, bearer(token))) != _UNAUTHORISED
        ]
        for name in taken:
            print(f"           {name}", flush=True)
        return float(len(taken))
    finally:
        await asyncio.to_thread(door.process.kill)


async def _lies(writer: asyncio.StreamWriter, answer: bytes, asked: int) -> None:
    """Lie in each way in turn."""
    await LIES[asked % len(LIES)](writer, answer, asked)


async def _lying_opa(target: Target) -> float:
    """Return how many refusals of a policy server become a yes where lies stand before and behind its answers."""
    opa = LyingOpa(_lies, echoes=False, every=2)
    listener = await asyncio.start_server(opa.serve, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    door = await target.installation.open_door(SLEEP_OPA_URL=f"http://{host}:{port}")
    try:
        raws = {
            subject: request("GET", MODE, bearer(target.token(target.tenant(), "sleep:read", subject)))
            for subject in ("yes", "no")
        }
        statuses: dict[str, Counter[int]] = {"yes": Counter(), "no": Counter()}

        async def one(number: int) -> None:
            subject = ("yes", "no")[number % 2]
            statuses[subject][await ask(door.url, raws[subject])] += 1

        for first in range(0, _QUESTIONS, _AT_ONCE):
            await asyncio.gather(*(one(number) for number in range(first, first + _AT_ONCE)))
        if not statuses["yes"][_OK]:
            raise BrokenError(f"nobody is let in: {statuses}")
        return float(statuses["no"][_OK])
    finally:
        await asyncio.to_thread(door.process.kill)
        listener.close()
        await opa.end()


async def _foreign_bookmarks(target: Target) -> float:
    """Return how many events of another tenant a stream brings that begins at that tenant's bookmark."""
    theirs = target.tenant()
    mine = target.tenant()
    while partition_of(mine, PARTITIONS) != partition_of(theirs, PARTITIONS):
        mine = target.tenant()
    async with target.door.client(theirs) as client:
        listening = asyncio.create_task(_listen(client, {}))
        await asyncio.sleep(_LISTEN_SECONDS / 4)
        for state in ("light", "deep", "freeze", "active"):
            await client.post(MODE, json={"target_state": state})
        bookmarks = [event.id for event in await listening if event.id]
    if not bookmarks:
        raise BrokenError("the other tenant has no bookmark")
    async with target.door.client(mine) as client:
        heard = [event for bookmark in bookmarks for event in await _listen(client, {"Last-Event-ID": bookmark})]
    return float(sum(theirs in str(event.data) for event in heard))


async def _listen(client: httpx.AsyncClient, headers: dict[str, str]) -> list[Event]:
    found: list[Event] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_LISTEN_SECONDS), client.stream("GET", _STREAM, headers=headers) as stream:
            async for event in events(stream):
                found.append(event)  # noqa: PERF401 - what came before the timeout counts
    return found


ATTACKS: Final = (
    Attack("14", "a policy server that lies before and behind its answers", 0, "refusals that became yes", _lying_opa),
    Attack("held", f"{len(TOKENS)} forged or senseless tokens", 0, "taken", _tokens),
    Attack(
        "held", "event streams with another tenant's bookmarks", 0, "foreign events", _foreign_bookmarks, short=False
    ),
)
