"""A check of a world: each record of its log is applied exactly once."""

import json
from collections import defaultdict
from typing import Any

from schemas.domain.policy import BUILT_IN_RULES
from tests.support.fakes import LogRecord
from tests.support.invariants import assert_fold, assert_once
from tests.support.world import World
from worker.fold.decoding import Decoder
from worker.fold.piece import Piece


def fold_of(records: list[LogRecord], partitions: int = 1) -> Piece:
    """Fold a whole log in one go, with nothing that can fail."""
    batch = Piece(0, [BUILT_IN_RULES], {}, defaultdict(lambda: None), defaultdict(lambda: None))
    decoder = Decoder(0, partitions)
    for record in records:
        batch.fold(decoder.decode(record))
    return batch


def rows(world: World) -> list[dict[str, Any]]:
    """Return the audit rows on the transitions topic."""
    return [json.loads(record.value or b"") for record in world.kafka.records(world.topics.transitions)]


def assert_applied_once(world: World) -> None:
    """Records and audit are those of a plain fold of the log."""
    batch = fold_of(world.events().records)
    assert_fold(
        world.stored().tenants,
        {tenant: item.packed for tenant, item in batch.written().items() if item.packed is not None},
    )
    assert_once(rows(world))
    expected = [json.loads(output.value or b"") for output in batch.transitions]
    assert {row["id"]: row for row in rows(world)} == {row["id"]: row for row in expected}
    assert world.stored().counts.total() == len(world.stored().tenants)
