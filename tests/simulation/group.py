"""The consumer group: who owns which partition, and who still believes that he does."""

import asyncio
from typing import Final

from tests.simulation.workers import Surroundings, VirtualWorker

# What a member has left to give its partitions up, before the others go on without it.
_REBALANCE_SECONDS: Final = (0.5, 5.0, 20.0)


class Group:
    """Deals out the partitions to its members, one rebalance after another.

    Attributes:
        workers: all that ever were, also the dead and those that were thrown out.
    """

    def __init__(self, world: Surroundings) -> None:
        self.workers: list[VirtualWorker] = []
        self._world = world
        self._owners: dict[int, VirtualWorker | None] = dict.fromkeys(range(world.partitions))
        self._turn = asyncio.Lock()
        self._returning: set[VirtualWorker] = set()
        self._returns: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> list[VirtualWorker]:
        """The workers that run."""
        return [worker for worker in self.workers if not worker.dead and not worker.machine.frozen]

    @property
    def owners(self) -> dict[int, VirtualWorker | None]:
        """Who owns each partition."""
        return self._owners

    @property
    def settled(self) -> bool:
        """Whether every partition has an owner, whose lane runs and waits for nothing."""
        for partition, owner in self._owners.items():
            lane = None if owner is None else owner.lanes.get(partition)
            if lane is None or lane.position is None or lane.problem is not None:
                return False
        return True

    async def join(self, worker: VirtualWorker) -> None:
        """Take a worker in."""
        if worker not in self.workers:
            self.workers.append(worker)
        worker.member = True
        await self.rebalance()

    async def throw_out(self, worker: VirtualWorker) -> None:
        """Go on without a worker that has not been heard of; it does not know."""
        self._forget(worker)
        await self.rebalance()

    def _go_on_without(self, worker: VirtualWorker) -> None:
        """Throw a worker out that has not given up its partitions in time; it is a stale owner until it has."""
        self._forget(worker)
        if not worker.dead:
            self._returns.append(self._world.loop.create_task(self.come_back(worker)))

    def _forget(self, worker: VirtualWorker) -> None:
        worker.member = False
        for partition, owner in self._owners.items():
            if owner is worker:
                self._owners[partition] = None

    async def come_back(self, worker: VirtualWorker) -> None:
        """Have a worker that was thrown out give up what it believed to own, and join."""
        if worker.member or worker in self._returning:
            return
        self._returning.add(worker)
        revoked = worker.revoke([lane.partition for lane in worker.lanes])
        while not revoked.done() and not worker.dead:
            await asyncio.wait([revoked], timeout=1)
        self._returning.discard(worker)
        if not worker.dead:
            await self.join(worker)

    async def end(self) -> None:
        """End every worker where it stands."""
        async with self._turn:
            for worker in self.workers:
                worker.member = False
                worker.dead = worker.machine.frozen = True
            self._owners = dict.fromkeys(self._owners)

    async def rebalance(self, *, everything: bool = False) -> None:
        """Deal out what nobody owns, and move a few partitions, or revoke and deal out everything."""
        async with self._turn:
            members = [worker for worker in self.workers if worker.member]
            if not members:
                return
            chance = self._world.random
            moves = {
                partition: chance.choice(members)
                for partition, owner in self._owners.items()
                if owner is None or everything or chance.random() < 1 / 3
            }
            losing: dict[VirtualWorker, list[int]] = {}
            for partition in moves:
                owner = self._owners[partition]
                if owner is not None:
                    losing.setdefault(owner, []).append(partition)
            for worker in losing:
                self._world.network.hit(worker.machine)
            self._world.trace(f"rebalance { ({partition: worker.name for partition, worker in moves.items()}) }")
            if losing:
                revoked = {worker.revoke(partitions): worker for worker, partitions in losing.items()}
                _, late = await asyncio.wait(revoked, timeout=chance.choice(_REBALANCE_SECONDS))
                for worker in [worker for task, worker in revoked.items() if task in late]:
                    self._go_on_without(worker)
            for partition, worker in moves.items():
                # Whoever left meanwhile gets nothing.
                self._owners[partition] = worker if worker.member else None
                if worker.member:
                    worker.assign(partition)
        if None in self._owners.values():
            await self.rebalance()
