"""An OPA server whose answers come too often, too early, too late, or cut off: no refusal ever becomes a yes.

The server is a real socket server. It refuses everybody but `yes`, and answers the probe as a policy does.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from api.adapters.dependency import Dependency, UnavailableError
from api.security.opa import ENDPOINT, OpaServer, Question
from api.security.opa_client import OpaClient
from tests.support.lying_opa import (
    LIES,
    QUESTIONS,
    Lie,
    LyingOpa,
    _after_the_timeout,
    _and_close,
    _continued,
    _first_another,
)


@asynccontextmanager
async def _asking(opa: LyingOpa) -> AsyncIterator[OpaServer]:
    """A client of the server, which has found out whether the policy echoes."""
    listener = await asyncio.start_server(opa.serve, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    client = OpaClient(f"http://{host}:{port}{ENDPOINT}")
    server = OpaServer(client, Dependency("opa"))
    probed = asyncio.Event()

    async def pause(_: float) -> None:
        probed.set()
        await asyncio.Event().wait()

    probing = asyncio.create_task(_probe(server, pause, probed))
    await probed.wait()
    try:
        yield server
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
        await client.aclose()
        listener.close()
        await opa.end()
        await listener.wait_closed()


async def _probe(server: OpaServer, pause: Callable[[float], Awaitable[None]], probed: asyncio.Event) -> None:
    try:
        await server.run(pause)
    except UnavailableError:
        probed.set()


async def _ask(server: OpaServer, callers: int = 1) -> Counter[tuple[bool, str]]:
    """Ask about `no` and `yes` in turn, and count the answers: whether it was right to allow, and what was said."""
    counted: Counter[tuple[bool, str]] = Counter()

    async def ask(subject: str) -> None:
        try:
            decision = await server.decide(Question("read", "acme", "acme", subject, ()))
        except UnavailableError:
            counted[subject == "yes", "nothing"] += 1
        else:
            counted[subject == "yes", "yes" if decision.allow else "no"] += 1
            await asyncio.sleep(0)

    for _ in range(0, QUESTIONS, callers):
        await asyncio.gather(*(ask("yes" if number % 3 == 0 else "no") for number in range(max(callers, 3))))
    return counted


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__.strip("_"))
@pytest.mark.parametrize("echoes", [False, True], ids=["plain", "echo"])
@pytest.mark.parametrize("every", [1, 7])
async def test_no_refusal_becomes_a_yes(lie: Lie, *, echoes: bool, every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies behind or before an answer is never the answer to another question."""
    monkeypatch.setattr("api.security.opa.DECISION_SECONDS", 0.03 if lie is _after_the_timeout else 1.0)
    async with _asking(LyingOpa(lie, echoes=echoes, every=every)) as server:
        alone, together = await _ask(server), await _ask(server, callers=6)
    for counted in (alone, together):
        assert not counted[False, "yes"]
        assert not counted[True, "no"]
    if every > 1:
        assert alone[False, "no"] >= QUESTIONS // 3


async def test_an_answer_of_another_question_is_told_by_its_echo() -> None:
    """The wrong answer comes first and the right one after it: without an echo nobody could know."""
    async with _asking(LyingOpa(_first_another, echoes=True, every=7)) as server:
        counted = await _ask(server)
    assert not counted[False, "yes"]


@pytest.mark.parametrize("lie", [_continued, _and_close])
async def test_strange_but_legal_answers_are_read(lie: Lie) -> None:
    """Informational answers and the end of a connection take no decision away."""
    async with _asking(LyingOpa(lie, echoes=True)) as server:
        counted = await _ask(server)
    assert set(counted) == {(False, "no"), (True, "yes")}


async def _truly(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    writer.write(answer)


async def test_connections_are_kept_where_the_policy_echoes() -> None:
    """The echo proves whose answer it was, so that the connection may take the next question."""
    opa = LyingOpa(_truly, echoes=True)
    async with _asking(opa) as server:
        counted = await _ask(server)
    assert set(counted) == {(False, "no"), (True, "yes")}
    assert opa.connections < 10


async def test_a_policy_without_an_echo_has_a_connection_a_question() -> None:
    """So that no answer can be another question's; the input is the contract's own."""
    opa = LyingOpa(_truly, echoes=False)
    async with _asking(opa) as server:
        counted = await _ask(server)
    assert set(counted) == {(False, "no"), (True, "yes")}
    assert opa.connections > QUESTIONS


async def test_a_policy_that_no_longer_echoes_still_decides() -> None:
    """A bundle may change at any time; the answers go on."""
    opa = LyingOpa(_truly, echoes=True)
    async with _asking(opa) as server:
        await _ask(server)
        opa.echoes = False
        counted = await _ask(server)
    assert set(counted) == {(False, "no"), (True, "yes")}
