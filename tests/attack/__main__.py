"""`python -m tests.attack`: every attack against an installation of its own, one line each; 1 where one succeeds."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Final

from tests.attack import bodies, budgets, http, identity, ingress, outputs, places, siege, storage, truth
from tests.attack.attack import Attack, Outcome, read_before, record_before
from tests.attack.target import PARTITIONS, Target
from tests.services import Namespace, Services, redis_client, start_services
from tests.support.installation import Installation

_SUBJECTS: Final = (http, places, bodies, ingress, outputs, budgets, storage, truth, identity, siege)
ATTACKS: Final = tuple(chain.from_iterable(subject.ATTACKS for subject in _SUBJECTS))


async def attempt(attack: Attack, target: Target) -> Outcome:
    """Run an attack; whatever it raises is an attack that was not held off."""
    try:
        async with asyncio.timeout(attack.seconds):
            return Outcome(attack, await attack.run(target))
    except Exception as error:  # noqa: BLE001 - one that breaks is reported, and the others go on
        return Outcome(attack, None, f"{type(error).__name__}: {error}")


async def run(services: Services, directory: Path, attacks: tuple[Attack, ...], *, short: bool) -> list[Outcome]:
    """Run attacks one after the other, and print each outcome."""
    before, outcomes = read_before(), []
    async with Installation.open(services, Namespace.fresh(), directory, partitions=PARTITIONS) as installation:
        redis = redis_client(services.redis)
        try:
            target = Target(installation, redis, short=short)
            await target.start()
            for attack in attacks:
                outcome = await attempt(attack, target)
                outcomes.append(outcome)
                print(outcome.line(before.get(attack.name)), flush=True)
                if not (short and outcome.held):
                    await target.restart()
        finally:
            await redis.aclose()
    return outcomes


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the shortened form, for CI")
    parser.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help="only attacks of these items, or with such a text in their name, comma-separated",
    )
    parser.add_argument("--record", metavar="SOURCE", help="keep the figures as those before, where there are none")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    attacks = tuple(_chosen(short=arguments.short, text=arguments.only))
    directory, began = Path(tempfile.mkdtemp(prefix="sleep-attack-")), time.monotonic()
    with ExitStack() as stack:
        services = stack.enter_context(start_services())
        if not services.log_append_time:
            print("attacks need a real Kafka: install Java and Maven, or start a Docker engine", file=sys.stderr)
            return 2
        print(f"services: {services}; logs are in {directory}", flush=True)
        outcomes = asyncio.run(run(services, directory, attacks, short=arguments.short))
    broken = sum(not outcome.held for outcome in outcomes)
    print(f"{len(outcomes)} attacks in {time.monotonic() - began:.0f} s: {broken or 'none'} succeeded")
    if arguments.record:
        record_before(outcomes, arguments.record)
    return 1 if broken else 0


def _chosen(*, short: bool, text: str) -> Iterator[Attack]:
    for attack in ATTACKS:
        chosen = not text or any(
            one == attack.item or (not one.isdigit() and one in attack.name) for one in text.split(",")
        )
        if chosen and (attack.short or not short):
            yield attack


if __name__ == "__main__":
    sys.exit(main())
