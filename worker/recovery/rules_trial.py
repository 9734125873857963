"""A trial of new rules: each tenant's record is folded once under them, by the fold itself. Nothing is written.

Each record is folded twice with a timer of the same moment: under the present rules, and under the new rules as the
next of the partition. So what time alone changes is on both sides, and counts as no change. This is what
`worker.partition.rules_sweep` does after new rules, for tenants without further events.
"""

from collections import Counter
from typing import Any, Final, NamedTuple, cast

from schemas.domain.policy import Rules
from schemas.domain.record import Record
from schemas.domain.state import LABELS
from schemas.wire.cloudevents import decode
from schemas.wire.events import TimerEvent
from worker.fold.fold import At, fold
from worker.partition.published_timers import timer

EXAMPLES: Final = 10
"""How many tenants are named for each change."""

Change = tuple[str, str]
"""The state of a tenant under the present rules, and under the new ones."""


class Sides(NamedTuple):
    """A tenant at one moment under the present rules and under the new ones; None if the record retires."""

    before: Record | None
    after: Record | None


def both_sides(tenant: str, record: Record, partition: int, rules: list[Rules], new: Rules, now: int) -> Sides:
    """Fold a timer at `now`, in milliseconds, onto a record under the present rules, and under new ones.

    Args:
        tenant: the name of the tenant.
        record: the tenant's record.
        partition: the tenant's partition.
        rules: all rules of the partition so far.
        new: the next rules of the partition.
        now: a time of the log.
    """
    output = timer(tenant, now)
    assert output.value is not None  # noqa: S101 - a timer is no tombstone
    event = cast("TimerEvent", decode(output.key, output.value, output.headers))
    at = At(partition, record.offset + 1, now)
    return Sides(fold(record, event, {}, rules, at).record, fold(record, event, {}, [*rules, new], at).record)


class Trial:
    """The counts of a trial.

    Attributes:
        tenants: how many records were folded.
        changes: how many tenants change their state, by the state before and after.
        dry_run: the same of `decided`, for tenants whose policy only records decisions (`enforce: false`).
        parameters: how many tenants keep their state and change the parameters that they move to.
        retired: how many records retire under the new rules, and would not under the present rules.
        examples: some tenants of each change of the state.
    """

    def __init__(self) -> None:
        self.tenants = 0
        self.changes: Counter[Change] = Counter()
        self.dry_run: Counter[Change] = Counter()
        self.parameters = 0
        self.retired = 0
        self.examples: dict[Change, list[str]] = {}

    def count(self, tenant: str, sides: Sides) -> None:
        """Count a tenant."""
        self.tenants += 1
        before, after = sides
        if after is None or before is None:
            # A tenant without a record is active, with the default parameters.
            self.retired += before is not None
            return
        if after.state is not before.state:
            change = LABELS[before.state], LABELS[after.state]
            self.changes[change] += 1
            named = self.examples.setdefault(change, [])
            if len(named) < EXAMPLES:
                named.append(tenant)
        elif after.decided is not before.decided:
            self.dry_run[LABELS[before.decided], LABELS[after.decided]] += 1
        elif after.ramp.target != before.ramp.target:
            self.parameters += 1

    def as_json(self) -> dict[str, Any]:
        """Return the counts as a document."""
        return {
            "tenants": self.tenants,
            "changed": sum(self.changes.values()),
            "changes": [
                {"from": before, "to": after, "tenants": count, "examples": sorted(self.examples[before, after])}
                for (before, after), count in sorted(self.changes.items())
            ],
            "decided_only": [
                {"from": before, "to": after, "tenants": count}
                for (before, after), count in sorted(self.dry_run.items())
            ],
            "parameters_only": self.parameters,
            "retired": self.retired,
        }
