"""The commands that a partition remembers, from audit rows and from the log. Pure.

What the audit row of a command before the committed offset says is final, whatever the replay makes of the command.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.domain.claim import Claim
from schemas.domain.record import Record
from schemas.wire.events import CommandEvent
from schemas.wire.operation import OperationRecord
from worker.fold.written import claims_of, pack_operation
from worker.ports import OperationKey
from worker.recovery.audit import JudgedCommand, cancelled_by
from worker.recovery.errors import ContradictionError


class Commands:
    """The commands of a partition, while its log is replayed.

    Args:
        partition: its number.
        records: the tenants' records; the replay updates this mapping.

    Attributes:
        operations: the commands so far; the partition may have forgotten some of them.
    """

    def __init__(self, partition: int, records: Mapping[str, Record | None]) -> None:
        self.operations: dict[OperationKey, OperationRecord] = {}
        self._partition = partition
        self._records = records
        # By offset, the commands whose event the log still holds, until the replay comes to it.
        self._awaited: dict[int, JudgedCommand] = {}

    def add_row(self, command: JudgedCommand) -> None:
        """Remember a command by its row alone: its event is gone, or is not read."""
        self.operations[command.key] = command.record(self._partition, None, self._claim_of(command))

    def expect(self, command: JudgedCommand) -> None:
        """Wait for the event of a command whose row is final."""
        self._awaited[command.offset] = command

    def is_awaited(self, offset: int) -> bool:
        """Return whether the event of a judged command is expected at an offset."""
        return offset in self._awaited

    def take_event(self, offset: int, event: Any) -> None:  # noqa: ANN401 - whatever event the log holds there
        """Remember the awaited command at an offset by its row and its event, which is not folded.

        Raises:
            ContradictionError: if the event is not that command.
        """
        self._remember(self._awaited.pop(offset), event)

    def correct(self, offset: int, event: Any) -> None:  # noqa: ANN401 - as above
        """Have the awaited command at an offset agree with its row after its event was folded.

        A later command with the same id stays.

        Raises:
            ContradictionError: if the event is not that command.
        """
        command = self._awaited.pop(offset)
        folded = self.operations.get(command.key)
        if folded is not None and (folded.offset > command.offset or command.agrees_with(folded)):
            return
        if folded is not None and command.before_is_guess and folded.offset == command.offset:
            command = command._replace(before=folded.previous_state)
        self._remember(command, event)

    def _remember(self, command: JudgedCommand, event: Any) -> None:  # noqa: ANN401 - as above
        if not isinstance(event, CommandEvent) or event.data.operation_id != command.key[1]:
            raise ContradictionError(
                f"{self._partition}:{command.offset} is not the command {command.key[1]} of tenant {command.key[0]} "
                "that the transitions topic says was judged there"
            )
        self.operations[command.key] = command.record(self._partition, event, self._claim_of(command))
        cancelled = cancelled_by(event, command)
        if cancelled is not None and cancelled in self.operations:
            self.operations[cancelled] = self.operations[cancelled]._replace(cancelled_at=command.at)

    def _claim_of(self, command: JudgedCommand) -> Claim | None:
        record = self._records.get(command.key[0])
        return None if record is None else record.claims.get(("operation", command.key[1]))

    def packed(self, keys: Iterable[OperationKey]) -> dict[OperationKey, bytes | None]:
        """Return commands as Redis holds them, None for an unknown one."""
        return {key: self._packed(key) for key in keys}

    def _packed(self, key: OperationKey) -> bytes | None:
        operation = self.operations.get(key)
        return None if operation is None else pack_operation(operation, self._records.get(key[0]))

    def remembered(
        self, records: Mapping[str, Record], position: int, highest: int
    ) -> dict[OperationKey, OperationRecord]:
        """Return the commands that the partition still remembers at its position.

        Args:
            records: the tenants' records there.
            position: the offset of the next event.
            highest: the highest timestamp of any event before it, ms.
        """
        # The log should hold the events of these and does not: only their rows are left.
        for judged in reversed(self._awaited.values()):
            self.operations.setdefault(judged.key, judged.record(self._partition, None, None))
        before_position = f"{self._partition}:{position - 1}"
        # A lane would take a command from beyond its position for one that is still to come.
        return {
            key: command if command.offset < position else command._replace(position=before_position)
            for key, command in self.operations.items()
            if not command.is_forgotten(highest) or command.lives_in(claims_of(records.get(key[0])))
        }
