"""How much a worker takes at a time in one run: small, so that the few records of a run come in many pieces."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple, Self
from unittest.mock import patch

from worker.partition.pending_batch import PIECE_BYTES
from worker.partition.record_cache import RecordCache
from worker.ports import LOAD_BYTES

# One event a piece, a few, or a batch as a whole; a state has about 2 KB.
_PIECES: Final = (1, 1, 3_000, 8_000, PIECE_BYTES)
# One record an answer, a few of about 100 bytes each, or all.
_LOADS: Final = (1, 250, LOAD_BYTES, LOAD_BYTES)
_TENANTS: Final = (1, 3, 10_000)


class Sizes(NamedTuple):
    """What bounds a piece, an answer of the store, and the memory of a lane.

    Attributes:
        piece: bytes of outputs after which a piece ends.
        load: bytes of records after which an answer ends.
        tenants: how many records a lane remembers.
    """

    piece: int
    load: int
    tenants: int

    @classmethod
    def draw(cls, chance: random.Random) -> Self:
        """Draw the sizes of a run."""
        return cls(chance.choice(_PIECES), chance.choice(_LOADS), chance.choice(_TENANTS))

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Have workers and store go by these."""
        with (
            patch("worker.partition.pending_batch.PIECE_BYTES", self.piece),
            patch("worker.partition.states_repair.PIECE_BYTES", self.piece),
            patch("worker.ports.LOAD_BYTES", self.load),
            patch("worker.partition.piece_processor.RecordCache", partial(RecordCache, most_tenants=self.tenants)),
        ):
            yield
