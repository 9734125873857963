"""Reads what the store holds of a tenant, and defines the error of a lane that must stop.

No event is ever folded onto a record that is unreadable or impossible. The lane stops, and a person decides.
"""

from typing import Final

from schemas.domain.policy import Rules
from schemas.domain.record import Record, unpack
from schemas.domain.sealing import NewerReleaseError
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.wire.operation import OperationRecord
from worker.errors import WorkerError

REBUILD: Final = "run `sleepctl rebuild`"
"""What to do if Redis holds no progress of a partition, or the progress of a rebuild that did not finish."""


class LaneStoppedError(WorkerError):
    """The partition needs a person; the message says what happened and which command to run."""


def rebuild_by_force(partition: int) -> str:
    """Return what to do if Redis holds progress, which a rebuild without `--force` leaves as it is."""
    return f"run `sleepctl rebuild --partition {partition} --force`"


def record_of(partition: int, tenant: str, packed: bytes, rules: list[Rules], before: int) -> Record:
    """Unpack a record; `before` is the first offset that has not been applied to it.

    Raises:
        LaneStoppedError: if the record cannot be read, or comes from a later offset.
    """
    try:
        record = unpack(packed, rules)
    except NewerReleaseError as error:
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
    """Unpack an operation.

    Raises:
        LaneStoppedError: if the operation cannot be read.
    """
    try:
        return unpack_operation(packed, partition, tenant, operation_id)
    except NewerReleaseError as error:
        raise LaneStoppedError(f"operation {operation_id} of tenant {tenant}: {error}") from error
    except ValueError as error:
        raise LaneStoppedError(
            f"operation {operation_id} of tenant {tenant} cannot be read: {error}; {rebuild_by_force(partition)}"
        ) from error
