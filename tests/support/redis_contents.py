"""What a store holds of a partition, in memory, and what the scripts in `worker/adapters/lua` make of it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from schemas.redis.command_memory import FIXED_BYTES
from worker.ports import OperationKey

# As in `commit.lua`: how many ends a commit takes off, and how long a packed command is at least.
_FORGET: Final = 4_000
_END_BYTES: Final = 8


@dataclass
class StoredPartition:
    """What the store holds of one partition.

    Attributes:
        ended: the ends of commands (ms) in the order in which they were noted.
        older: commands under the keys that they had until layout 3.
        receipts: commands with a receipt.
    """

    progress: dict[bytes, bytes] = field(default_factory=dict)
    tenants: dict[str, bytes] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    operations: dict[OperationKey, bytes] = field(default_factory=dict)
    ended: list[tuple[int, OperationKey]] = field(default_factory=list)
    older: dict[OperationKey, bytes] = field(default_factory=dict)
    receipts: set[OperationKey] = field(default_factory=set)

    @property
    def next(self) -> int:
        """The offset of the first record not applied."""
        return int(self.progress.get(b"next", b"0"))

    def stands_at(self, position: int) -> bool:
        """The fence of `load.lua` and `commit.lua`."""
        return self.next == position and int(self.progress.get(b"records", b"0")) == len(self.tenants)

    def has_still(self, name: bytes, number: int, since: int = 2) -> bool:
        """Whether there are as many as the last commit left; before the layout `since` nobody has said."""
        known = int(self.progress.get(b"layout", b"1")) >= since and name in self.progress
        return not known or int(self.progress[name]) == number

    @property
    def knows_its_commands(self) -> bool:
        """The rest of the fence of `load.lua`."""
        return self.has_still(b"operations", len(self.operations), since=3)

    @property
    def keeps_what_it_had(self) -> bool:
        """The rest of the fence of `commit.lua`."""
        timed = self.has_still(b"timers", len(self.timers)) and self.has_still(b"open", len(self.open))
        return timed and self.knows_its_commands and self.has_still(b"ended", len(self.ended), since=3)

    def packed(self, command: OperationKey) -> bytes | None:
        """Return a command as the scripts find it."""
        return self.operations.get(command, self.older.get(command))

    def note_end(self, command: OperationKey) -> None:
        """Take its texts away, and note when it ended."""
        if (packed := self.operations.get(command)) is not None:
            self.operations[command] = packed[:FIXED_BYTES]
            self.ended.append((_end_of(packed), command))

    def forget(self, forget_to: int) -> None:
        """Forget what ended by then, as far as it is at the head of the list."""
        for _ in range(_FORGET):
            if not self.ended or self.ended[0][0] > forget_to:
                return
            _, command = self.ended.pop(0)
            if command in self.operations and _end_of(self.operations[command]) <= forget_to:
                del self.operations[command]


def _end_of(packed: bytes) -> int:
    """Return when a command ended, as `commit.lua` reads it."""
    return int.from_bytes(packed[1:9], "big") if len(packed) > _END_BYTES else 0
