"""What the store holds of a tenant, read or refused by name; and the error of a lane that must stop.

Nothing is ever folded on top of a record that cannot be read, or that cannot be: the lane stops, and a person
decides.
"""

from typing import Final

from schemas.layout import NewerLayoutError
from schemas.operation import OperationRecord
from schemas.policy import Rules
from schemas.record import Record, unpack

REBUILD: Final = "run `sleepctl rebuild`"
"""What helps where Redis holds no progress of a partition, or that of a rebuild that did not end."""


class LaneStoppedError(Exception):
    """The partition cannot go on without a person; the message says what happened and which command to run."""


def rebuild_by_force(partition: int) -> str:
    """Return what helps where Redis holds progress, which a plain rebuild leaves as it is."""
    return f"run `sleepctl rebuild --partition {partition} --force`"


def record_of(partition: int, tenant: str, packed: bytes, rules: list[Rules], before: int) -> Record:
    """Return the record in these bytes; `before` is the first offset that it cannot know of.

    Raises:
        LaneStoppedError: if it cannot be read, or comes from further on in the log.
    """
    try:
        record = unpack(packed, rules)
    except NewerLayoutError as error:
        raise LaneStoppedError(f"the record of tenant {tenant}: {error}") from error
    except ValueError as error:
        cure = rebuild_by_force(partition)
        raise LaneStoppedError(f"the record of tenant {tenant} cannot be read: {error}; {cure}") from error
    if record.offset >= before:
        raise LaneStoppedError(
            f"the record of tenant {tenant} is of offset {record.offset}, and only what lies before {before} has been "
            f"applied; {rebuild_by_force(partition)}"
        )
    return record


def operation_of(partition: int, tenant: str, operation_id: str, packed: bytes) -> OperationRecord:
    """Return the operation in these bytes.

    Raises:
        LaneStoppedError: if it cannot be read.
    """
    try:
        return OperationRecord.unpack(packed)
    except NewerLayoutError as error:
        raise LaneStoppedError(f"operation {operation_id} of tenant {tenant}: {error}") from error
    except ValueError as error:
        raise LaneStoppedError(
            f"operation {operation_id} of tenant {tenant} cannot be read: {error}; {rebuild_by_force(partition)}"
        ) from error
