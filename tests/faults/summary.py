"""The figures of a run."""

from collections import Counter
from typing import NamedTuple

from tests.faults.schedule import Kind


class Summary(NamedTuple):
    """What a run was made of; `refused` and `repaired` count lines of the workers' logs."""

    faults: Counter[Kind]
    events: int
    commands: int
    answers: Counter[str]
    written: int
    unacknowledged: int
    lost_bytes: int
    refused: int
    repaired: int
    rebuilt: int
    refolded: int
    seconds: float

    def __str__(self) -> str:
        """Return the figures, a line each."""
        faults = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.faults.items()))
        answers = ", ".join(f"{count:,} x {name}" for name, count in sorted(self.answers.items()))
        return (
            f"faults: {faults}\n"
            f"events in the log: {self.events:,}; the load wrote {self.written:,} records, and lost "
            f"{self.unacknowledged} acks\n"
            f"commands over HTTP: {self.commands:,}; answers: {answers}\n"
            f"Redis lost {self.lost_bytes:,} bytes of its file; workers were refused {self.refused} times and "
            f"repaired the states topic {self.repaired} times\n"
            f"partitions rebuilt after their owner refused: {self.rebuilt}, folded anew from the log's beginning: "
            f"{self.refolded}\n"
            f"{self.seconds:.0f} s"
        )
