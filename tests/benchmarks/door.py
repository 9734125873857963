"""What the door costs: the same command through none of its steps, through each one alone, and through all."""

import asyncio
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tests.benchmarks.commands import CALLERS, Latencies, measure, until_served
from tests.benchmarks.open_door import STEPS
from tests.installation import Door, Installation

ROUNDS: Final = 3
"""Of every variant in turn, so that a busy minute hurts all alike; the median round counts."""
ONE_CALLER_REQUESTS: Final = 200
REQUESTS: Final = 1_600
UNLIMITED: Final = '{"*": "9000000/minute"}'
EMBEDDED: Final = "embedded"


class Variant(NamedTuple):
    """A door: the steps that it has, and where its policy is asked."""

    name: str
    steps: frozenset[str]
    opa: str


class Cost(NamedTuple):
    """A variant's median round with one caller, and with 32."""

    one: Latencies
    many: Latencies


def variants(opa: str | None) -> list[Variant]:
    """Return what is measured; `opa` is the address of a server, None where there is none."""
    every = frozenset(STEPS)
    found = [
        Variant("no door", frozenset(), EMBEDDED),
        Variant("JWT alone", frozenset({"jwt"}), EMBEDDED),
        Variant("limit alone", frozenset({"limit"}), EMBEDDED),
        Variant("policy alone, embedded", frozenset({"opa"}), EMBEDDED),
        Variant("all, policy embedded", every, EMBEDDED),
    ]
    if opa is not None:
        found.append(Variant("policy alone, OPA server", frozenset({"opa"}), opa))
        found.append(Variant("all, OPA server", every, opa))
    return found


async def door_costs(installation: Installation, opa: str | None) -> Mapping[str, Cost]:
    """Return the figures of each variant, all in front of one worker."""
    worker = installation.start("worker")
    rounds: dict[str, list[Cost]] = {}
    try:
        for number in range(ROUNDS + 1):
            for variant in variants(opa):
                cost = await _cost(installation, variant)
                if number:  # The first round warms the worker, the broker and the file system.
                    rounds.setdefault(variant.name, []).append(cost)
    finally:
        await asyncio.to_thread(worker.stop)
    return {
        name: Cost(_median([c.one for c in costs]), _median([c.many for c in costs])) for name, costs in rounds.items()
    }


async def _cost(installation: Installation, variant: Variant) -> Cost:
    absent = [step for step in STEPS if step not in variant.steps]
    command = [sys.executable, "-m", "tests.benchmarks.open_door", *absent]
    door = await installation.open_door(*command, SLEEP_RATE_LIMITS=UNLIMITED, SLEEP_OPA_URL=variant.opa)
    try:
        port, tokens = int(door.url.rpartition(":")[2]), _tokens(door, variant)
        await until_served(port, tokens[0])
        await measure(port, tokens, CALLERS * 10)
        one = await measure(port, tokens[:1], ONE_CALLER_REQUESTS)
        return Cost(one, await measure(port, tokens, REQUESTS))
    finally:
        await asyncio.to_thread(door.process.stop)


def _tokens(door: Door, variant: Variant) -> list[str]:
    """Return a token for each caller; a door that does not verify takes the tenant's name."""
    tenants = [f"tenant-{caller}" for caller in range(CALLERS)]
    return [door.token(tenant) for tenant in tenants] if "jwt" in variant.steps else tenants


def _median(rounds: Sequence[Latencies]) -> Latencies:
    return Latencies(*(statistics.median(values) for values in zip(*rounds, strict=True)))
