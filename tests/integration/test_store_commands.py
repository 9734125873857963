"""How the store remembers and forgets commands, on a real Redis and in the fake that unit tests stand on."""

import pytest

from schemas.redis.command_memory import field_of
from schemas.redis.progress import ProgressUpdate
from tests.services import Client
from tests.support.commits import EMPTY, OP, commit, packed
from worker import ports
from worker.adapters.redis_store import LaneStore
from worker.ports import Loaded

pytestmark = pytest.mark.cluster


async def known(store: ports.Store, position: int, *operation_ids: str) -> list[bytes | None]:
    """Return what a store holds of some commands of one tenant."""
    loaded = await store.load(0, position, [], [("acme", name) for name in operation_ids])
    assert loaded is not None
    return loaded.operations


async def test_a_command_is_forgotten_at_its_time_and_not_before(store: ports.Store) -> None:
    """By its end; its texts go when it ends, and one that has not ended stays however late it is."""
    first = EMPTY._replace(
        operations={OP: packed(100), ("acme", "op-2"): packed(200, b"texts"), ("acme", "op-3"): packed(1)},
        ended_operations=[OP],
    )
    assert await store.commit(0, first)
    assert await store.commit(0, commit(1, 2)._replace(ended_operations=[("acme", "op-2")], forget_to=99))
    assert await known(store, 2, "op-1", "op-2", "op-3") == [packed(100), packed(200), packed(1)]
    assert await store.commit(0, commit(2, 3)._replace(forget_to=100))
    assert await known(store, 3, "op-1", "op-2", "op-3") == [None, packed(200), packed(1)]
    standing = await store.partition_status(0)
    assert (standing.operations, standing.ended) == (2, 1)
    assert (standing.progress.records, standing.records) == (0, 0)


async def test_an_id_that_came_again_is_forgotten_by_its_later_end(store: ports.Store) -> None:
    """The end that was noted first says nothing of it any more."""
    assert await store.commit(0, EMPTY._replace(operations={OP: packed(100)}, ended_operations=[OP]))
    assert await store.commit(
        0, commit(1, 2)._replace(operations={OP: packed(300)}, ended_operations=[OP], forget_to=99)
    )
    assert await store.commit(0, commit(2, 3)._replace(forget_to=299))
    assert await known(store, 3, "op-1") == [packed(300)]
    assert await store.commit(0, commit(3, 4)._replace(forget_to=300))
    assert await known(store, 4, "op-1") == [None]
    assert (await store.partition_status(0)).ended == 0


async def test_an_end_that_nobody_knows_of_is_not_noted(store: ports.Store) -> None:
    """One that a worker of layout 2 has written has a key of its own."""
    assert await store.commit(0, EMPTY._replace(ended_operations=[OP]))
    standing = await store.partition_status(0)
    assert (standing.operations, standing.ended) == (0, 0)


async def test_what_a_commit_forgets_is_bounded(store: ports.Store) -> None:
    """A partition that stood still for hours forgets what has gathered in several."""
    names = [("acme", f"op-{number}") for number in range(9_001)]
    for first in (0, 5_000):
        some = dict.fromkeys(names[first : first + 5_000], packed(7))
        position = (await store.partition_status(0)).progress.next
        assert await store.commit(
            0, commit(position, position + 1)._replace(operations=some, ended_operations=list(some))
        )
    left = []
    for position in range(2, 6):
        assert await store.commit(0, commit(position, position + 1)._replace(forget_to=7))
        standing = await store.partition_status(0)
        left.append((standing.operations, standing.ended))
    assert left == [(5_001, 5_001), (1_001, 1_001), (0, 0), (0, 0)]


async def test_commands_that_were_lost_refuse_everything(real: LaneStore, redis: Client) -> None:
    """Else each would be applied again; beside an older layout nobody has kept their number."""
    written = EMPTY._replace(
        operations={OP: packed(1), ("acme", "op-2"): packed(2)}, progress=ProgressUpdate(next=1, layout=3)
    )
    assert await real.commit(0, written)
    await redis.hdel(real.keys(0).operations, field_of(*OP))
    assert await real.load(0, 1, [], [OP]) is None
    assert not await real.commit(0, commit(1, 2))
    await redis.hset(real.keys(0).progress, "layout", "2")
    assert await real.load(0, 1, [], [OP]) == Loaded([], [None])
    assert await real.commit(0, commit(1, 2))


async def test_ends_that_were_lost_refuse_the_next_commit(real: LaneStore, redis: Client) -> None:
    """Else what they belong to would stay for ever."""
    assert await real.commit(
        0, EMPTY._replace(operations={OP: packed(1)}, ended_operations=[OP], progress=ProgressUpdate(next=1, layout=3))
    )
    await redis.delete(real.keys(0).ended)
    assert not await real.commit(0, commit(1, 2))


async def test_bytes_that_are_no_command_break_no_commit(real: LaneStore, redis: Client) -> None:
    """Somebody wrote them by hand; they go like others, and a script that failed would leave half a commit."""
    assert await real.commit(0, EMPTY._replace(operations={OP: b"?"}, ended_operations=[OP]))
    await redis.lset(real.keys(0).ended, 0, b"!")
    assert await real.commit(0, commit(1, 2)._replace(forget_to=0))
    assert await redis.llen(real.keys(0).ended) == 0
