"""What a new partition is to hold, from what the old partitions hold. Pure."""

from collections.abc import Sequence
from itertools import count
from typing import Any, Final, NamedTuple

from msgspec.structs import replace
from pydantic_core import to_json

from schemas.domain.policy import BUILT_IN_RULES, Rules, parse_rules
from schemas.domain.record import Record
from schemas.kafka.partitioner import partition_of
from schemas.names import rules_key
from schemas.wire.operation import OperationRecord
from schemas.wire.state_record import parse_position
from schemas.wire.tenant_view import encoded_state
from worker.ports import OperationKey, Output
from worker.recovery.errors import RefusedError
from worker.recovery.partition_content import PartitionContent

MARKER: Final = 0
"""The offset of the marker with which each partition of the new log begins. All that is moved has its position."""


class OldPartition(NamedTuple):
    """What an old partition holds.

    Attributes:
        position: the offset of its next event.
        latest: the highest timestamp of any event applied, ms.
        rules: all its rules by number.
        rows: the audit row of each command that is remembered, as far as the topic has it.
        earlier: the tenant's row before that. It says if the state before the command was enforced.
    """

    partition: int
    position: int
    latest: int
    rules: list[Rules]
    records: dict[str, Record]
    operations: dict[OperationKey, OperationRecord]
    rows: dict[OperationKey, dict[str, Any]]
    earlier: dict[OperationKey, dict[str, Any]]


class CommonRules(NamedTuple):
    """The rules of all new partitions, and the new number of each old one: by old partition, then old number."""

    rules: list[Rules]
    numbers: list[list[int]]


def common_rules(old: Sequence[OldPartition]) -> CommonRules:
    """Return the rules that all new partitions have.

    Where all old partitions have the same rules, these stay. Where they differ (rules were applied while a partition
    could not take them), the present rules are kept alone. Then no tenant may still be under earlier rules.

    Raises:
        RefusedError: if the present rules differ, or tenants are under earlier ones.
    """
    digests = [[rules.digest for rules in each.rules] for each in old]
    if all(each == digests[0] for each in digests):
        return CommonRules(old[0].rules, [list(range(len(each.rules))) for each in old])
    again = "apply the rules again (`sleepctl rules apply`), let workers run for a minute, and stop them"
    if len({each[-1] for each in digests}) > 1:
        names = ", ".join(f"{each.partition} {each.rules[-1].digest}" for each in old)
        raise RefusedError(f"the partitions have different rules (partition and digest: {names}): {again}")
    for each in old:
        present = len(each.rules) - 1
        if late := sorted(tenant for tenant, record in each.records.items() if record.rules_number != present):
            raise RefusedError(
                f"partition {each.partition} had other rules before than other partitions, and {len(late)} tenants "
                f"are still under them ({late[0]}): {again}"
            )
    last = old[0].rules[-1]
    built_in = last.digest == BUILT_IN_RULES.digest
    rules = [BUILT_IN_RULES] if built_in else [BUILT_IN_RULES, parse_rules(1, last.document)]
    return CommonRules(rules, [[len(rules) - 1] * len(each.rules) for each in old])


class NewPartitions:
    """What the new partitions are to hold. Each is made when it is asked for, since all of them together are large.

    Args:
        old: all old partitions.
        partitions: how many new ones there are.

    Attributes:
        old: as given.
        rules: the rules of all new partitions.

    Raises:
        RefusedError: as `common_rules`.
    """

    def __init__(self, old: Sequence[OldPartition], partitions: int) -> None:
        self.old = old
        self.rules, self._numbers = common_rules(old)
        self._latest = max((each.latest for each in old), default=0)
        # Of each new partition, by old partition.
        self._tenants: list[list[list[str]]] = [[[] for _ in old] for _ in range(partitions)]
        self._commands: list[list[list[OperationKey]]] = [[[] for _ in old] for _ in range(partitions)]
        for index, each in enumerate(old):
            for tenant in each.records:
                self._tenants[partition_of(tenant, partitions)][index].append(tenant)
            for key in each.operations:
                self._commands[partition_of(key[0], partitions)][index].append(key)

    def __len__(self) -> int:
        """Return how many new partitions there are."""
        return len(self._tenants)

    def tenants(self, number: int) -> int:
        """Return how many tenants a new partition is to have."""
        return sum(map(len, self._tenants[number]))

    def commands(self, number: int) -> int:
        """Return how many commands a new partition is to remember."""
        return sum(map(len, self._commands[number]))

    def records_before(self, number: int) -> dict[str, tuple[OldPartition, Record]]:
        """Return the records that go to a new partition as they are, each with its old partition."""
        placed = zip(self.old, self._tenants[number], strict=True)
        return {tenant: (each, each.records[tenant]) for each, tenants in placed for tenant in tenants}

    def operations_before(self, number: int) -> dict[OperationKey, OperationRecord]:
        """Return the commands that go to a new partition as they are."""
        placed = zip(self.old, self._commands[number], strict=True)
        return {key: each.operations[key] for each, keys in placed for key in keys}

    def content(self, number: int) -> PartitionContent:
        """Return what a new partition is to hold, with what is to be on its states and transitions topics."""
        content = _empty(number, len(self), self.rules, self._latest)
        for numbers, each, tenants in zip(self._numbers, self.old, self._tenants[number], strict=True):
            for tenant in tenants:
                record = each.records[tenant]
                moved = replace(record, offset=MARKER, rules_number=numbers[record.rules_number])
                content.records[tenant] = moved
        for key, operation in self.operations_before(number).items():
            content.operations[key] = operation._replace(position=f"{number}:{MARKER}")
        content.states.extend(_rules_outputs(content, self._latest))
        content.states.extend(
            Output(
                tenant.encode(),
                encoded_state(tenant, number, record, self.rules[record.rules_number].terms_for(record.policy)),
            )
            for tenant, record in sorted(content.records.items())
        )
        placed = list(zip(self.old, self._commands[number], strict=True))
        rows = {key: each.rows[key] for each, keys in placed for key in keys if key in each.rows}
        earlier = {key: each.earlier[key] for each, keys in placed for key in keys if key in each.earlier}
        content.transitions.extend(_rows(content, rows, earlier))
        return content


def _empty(partition: int, partitions: int, rules: list[Rules], highest: int) -> PartitionContent:
    return PartitionContent(
        partition=partition,
        partitions=partitions,
        next=MARKER + 1,
        timestamp=None,
        crc=None,
        records={},
        operations={},
        rules=rules,
        states=[],
        transitions=[],
        dead_letters=[],
        ignored={},
        highest=highest,
    )


def _rules_outputs(content: PartitionContent, at: int) -> list[Output]:
    position = f"{content.partition}:{MARKER}"
    return [
        Output(
            rules_key(rules.number).encode(),
            to_json({"number": rules.number, "rules": rules.document, "position": position, "at": at}),
        )
        for rules in content.rules[1:]
    ]


def _rows(
    content: PartitionContent,
    rows: dict[OperationKey, dict[str, Any]],
    earlier: dict[OperationKey, dict[str, Any]],
) -> list[Output]:
    """Return the audit rows of the commands: a rebuild learns from them which commands are remembered.

    They are in the order in which the commands were judged: many have the same time. Before the first one of a tenant
    comes the tenant's row before it. An index makes their ids differ.
    """
    keys = content.operations.keys() & rows
    known = sorted((rows[key]["at"], parse_position(rows[key]["position"]), key) for key in keys)
    position, index = f"{content.partition}:{MARKER}", count()
    outputs: list[Output] = []
    tenants: set[str] = set()
    for *_, key in known:
        first = key[0] not in tenants
        tenants.add(key[0])
        copied = [earlier[key], rows[key]] if first and key in earlier else [rows[key]]
        outputs.extend(
            Output(key[0].encode(), to_json({**row, "id": f"{position}:{next(index)}", "position": position}))
            for row in copied
        )
    return outputs
