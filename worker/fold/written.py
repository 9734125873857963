"""What the store gets for a tenant, for its commands, and for the counts of tenants by state. Pure."""

from collections.abc import Mapping

from msgspec import Struct

from schemas.domain.claim import Claims
from schemas.domain.deadlines import is_open_ended, next_deadline, retires_at
from schemas.domain.policy import Rules
from schemas.domain.record import Record, pack
from schemas.domain.state import LABELS
from schemas.redis import command_memory as remembered
from schemas.wire.operation import OperationRecord


class Written(Struct, frozen=True, gc=False):
    """What the store writes for one tenant.

    Attributes:
        packed: the packed record, None to remove the record.
        due: the time of the next timer in ms, None to remove the timer.
        open_ended: whether a pin or a claim without expiry keeps the tenant asleep.
    """

    packed: bytes | None
    due: int | None
    open_ended: bool


def claims_of(record: Record | None) -> Claims:
    """Return the claims of a record; none if there is no record."""
    return {} if record is None else record.claims


def pack_operation(operation: OperationRecord, record: Record | None) -> bytes:
    """Return the packed form of a command of the tenant with this record."""
    return remembered.pack(operation, live=operation.lives_in(claims_of(record)))


def written_of(record: Record | None, rules: list[Rules]) -> Written:
    """Return what the store writes for a tenant with this record."""
    if record is None:
        return Written(None, None, open_ended=False)
    terms = rules[record.rules_number].terms_for(record.policy)
    due = next_deadline(record, terms)
    if due is None:
        due = retires_at(record, terms)
    return Written(pack(record, terms.schedule), due, is_open_ended(record, terms))


def count_changes(before: Mapping[str, Record | None], after: Mapping[str, Record | None]) -> dict[str, int]:
    """Return by how much the number of tenants in each state changed."""
    moved = [0] * len(LABELS)
    for tenant, record in after.items():
        earlier = before[tenant]
        if earlier is not None:
            moved[earlier.state] -= 1
        if record is not None:
            moved[record.state] += 1
    return {state: difference for state, difference in zip(LABELS, moved, strict=True) if difference}
