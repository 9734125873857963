"""Whatever goes wrong and in whatever order: readers of the states end equal to the fold, and none goes backwards."""

import asyncio
import random
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from schemas.domain.record import unpack
from schemas.redis.progress import Progress
from schemas.wire.tenant_view import present
from tests.support.fakes import settle
from tests.support.outputs import breaker, event, operation, rules
from tests.support.world import World
from tests.unit.api.states_world import ApiProcess, Follower, Steps
from worker.ports import Output

TENANTS = ("acme", "globex", "initech", "hooli", "umbrella")
SCHEDULE = {
    state: {"K": k, "t": 1.0, "tau": 0.1, "eta": 0.0, "lambda": 0.5, "B": 1.0}
    for state, k in (("active", 90), ("light", 50), ("deep", 20), ("freeze", 1))
}


class _Chaos:
    """Two workers, two API processes and three readers, and one thing after another, drawn from a seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.steps = Steps()
        self.processes = [ApiProcess(world, self.steps, self.random) for _ in range(2)]
        self.followers = [Follower(self.processes, self.steps, self.random) for _ in range(3)]
        self._snapshot = world.store.snapshot()
        self._operations = 0
        self._ended: list[ApiProcess] = []
        self._actions: list[tuple[int, Callable[[], object]]] = [
            (40, self.log_events),
            (4, self.take_away),
            (6, self.give_back),
            (6, self.delay_commit),
            (4, self.lose_an_answer),
            (3, lambda: setattr(self, "_snapshot", world.store.snapshot())),
            (2, lambda: world.store.restore(self._snapshot)),
            (3, self.append_late),
            (4, self.compact),
            (2, self.set_rules),
            (10, lambda: self.random.choice(self.followers).cut()),
            (6, self.replace_process),
        ]

    def log_events(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            tenant = self.random.choice(TENANTS)
            self._operations += 1
            states = ["open", "half_open", "closed", "closed"]
            ttl = self.random.randint(1, 3_000)
            policy = self.random.choice([None, {"ramp_seconds": {"wake": 1}}])
            self.world.log(
                self.random.choice(
                    [
                        breaker(tenant, self.random.choice(states)),
                        breaker(tenant, self.random.choice(states)),
                        operation(tenant, f"op-{self._operations}", ttl_ms=ttl),
                        event(
                            "sleep.policy.v1",
                            tenant,
                            operation_id=f"op-{self._operations}",
                            policy=policy,
                            actor="ops",
                        ),
                    ]
                )
            )

    def set_rules(self) -> None:
        schedule = self.random.choice([None, SCHEDULE])
        policy = self.random.choice([{}, {"ramp_seconds": {"wake": 1}}, {"schedule": SCHEDULE}])
        self.world.log(rules({"policy": policy, "schedule": schedule, "retire_after_seconds": 60}))

    def take_away(self) -> None:
        self.world.store.faults.down.add(self.random.choice(["load", "commit", "partition_status"]))
        self.world.outputs.faults.down.add("send")

    def give_back(self) -> None:
        for faults in (self.world.store.faults, self.world.outputs.faults, self.world.broker):
            faults.heal()

    def delay_commit(self) -> None:
        """Publish states, and let their commit take a while: nobody publishes them again."""
        held = self.world.store.faults.delayed.get("commit")
        if held is None or held.is_set():
            self.world.store.faults.hold("commit")
        self.log_events()

    def lose_an_answer(self) -> None:
        self.world.store.faults.lost.append("commit")
        self.world.outputs.faults.lost.append("send")

    def append_late(self) -> None:
        """Append a state again, as a worker that has lost its partition may."""
        if records := self.world.states().records:
            late = self.random.choice(records)
            self.world.states().append([Output(late.key, late.value, late.headers)])

    def compact(self) -> None:
        """Remove a state that has a later one, as Kafka does."""
        records = self.world.states().records
        old = [record for n, record in enumerate(records) if any(record.key == after.key for after in records[n + 1 :])]
        if old:
            records.remove(self.random.choice(old))

    def replace_process(self) -> None:
        """Kill an API process, and start another."""
        number = self.random.randrange(len(self.processes))
        self._ended.append(self.processes[number])
        self.processes[number].feed.release()
        self.processes[number] = ApiProcess(self.world, self.steps, self.random)

    async def go_on(self, steps: int, seconds: tuple[float, ...] = (0, 0, 0.05, 0.3, 1.5, 40)) -> None:
        """Do so many things, with a little time between."""
        weights, actions = zip(*self._actions, strict=True)
        for _ in range(steps):
            self.random.choices(actions, weights)[0]()
            await self.world.advance(self.random.choice(seconds))
            for _ in range(self.random.randint(0, 3)):
                await self.steps.go_on()
                await settle()

    async def rest(self) -> None:
        """Let everything come to its end: every timer, every ramp, and every reader."""
        self.give_back()
        for _ in range(30):
            await self.world.advance(3)
            for _ in range(5):
                await self.steps.go_on()
                await settle()

    async def end(self) -> None:
        """End all readers and processes."""
        await asyncio.gather(*(follower.end() for follower in self.followers))
        await asyncio.gather(*(process.end() for process in (*self.processes, *self._ended)))


def _answers(world: World) -> dict[str, tuple[str, dict[str, float]]]:
    """State and parameters of each tenant as the API answers them."""
    stored, now = world.stored(), world.clock.now()
    known = Progress.unpack(stored.progress).rules
    records = {tenant: unpack(packed, known) for tenant, packed in stored.tenants.items()}
    documents = {tenant: present(tenant, 0, records.get(tenant), known, now) for tenant in TENANTS}
    return {tenant: (document["state"], document["parameters"]) for tenant, document in documents.items()}


@pytest.mark.parametrize("seed", range(8))
async def test_readers_end_equal_to_the_fold_and_never_go_backwards(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outages, lost answers, rollbacks, late appends, new rules, killed processes; few tenants remembered, or many."""
    monkeypatch.setattr("api.states.feed.REACH_SECONDS", 0.0)
    monkeypatch.setattr("api.states.feed.REMEMBERED", 2 if seed % 3 == 0 else 100)
    # A process that reads no earlier records cannot know what a Redis that went back has lost. It is then older than
    # what a client has of another process, and the client keeps its own.
    knows_all = seed % 2 == 0
    monkeypatch.setattr("api.states.feed.EARLIER_RECORDS", 1_000 if knows_all else seed % 5)
    with capture_logs():
        async with World(seed=seed) as world:
            chaos = _Chaos(world, seed)
            world.join()
            for worker in world.workers:
                worker.lanes.assign([0])
            try:
                await chaos.go_on(80)
                await chaos.rest()
                expected, now = _answers(world), world.clock.now()
                for follower in chaos.followers:
                    assert follower.reader.ready
                    read = {tenant: follower.reader.state(tenant, now) for tenant in TENANTS}
                    assert read == expected
                    assert follower.backward == [] or not knows_all
            finally:
                await chaos.end()
