"""The result of a replay: that of each partition, and their sum. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from worker.recovery.what_if.audit_check import RowDifference
from worker.recovery.what_if.bounds import Range
from worker.recovery.what_if.effects import MOST_CHANGES, Effect
from worker.recovery.what_if.partition import PartitionReplay
from worker.recovery.what_if.state_changes import DifferentChange

SIDES = ("recorded", "replayed")


class ReplayedPartition(NamedTuple):
    """The result on one partition.

    Attributes:
        range: what was replayed.
        events: how many events of the range were folded.
        failed: on how many of them our own code failed.
        tenants: the effect on each tenant.
        changes: changes that only one side has, at most `MOST_CHANGES`.
        inexact: the tenants whose record from before the range is not kept, and the offset of the record that each
            begins with; None for one that begins without a record.
        audit_matched: how many published rows are those of the replay.
        audit_differences: how many rows are not.
        audit_tenants: the tenants of these.
        audit_examples: the first of these.
    """

    range: Range
    events: int
    failed: int
    tenants: dict[str, Effect]
    changes: list[DifferentChange]
    inexact: dict[str, int | None]
    audit_matched: int
    audit_differences: int
    audit_tenants: set[str]
    audit_examples: list[RowDifference]

    @classmethod
    def of(cls, replay: PartitionReplay) -> "ReplayedPartition":
        """Return the result of a replay that is finished."""
        effects, audit = replay.effects, replay.audit
        return cls(
            range=replay.range,
            events=replay.events,
            failed=replay.failed,
            tenants=effects.tenants,
            changes=effects.changes,
            inexact=replay.inexact(),
            audit_matched=audit.matched,
            audit_differences=audit.differences,
            audit_tenants=audit.tenants,
            audit_examples=audit.examples,
        )


class Report(NamedTuple):
    """The result of a replay.

    Attributes:
        partitions: the result on each.
        alternative: whether other rules or another policy took part.
    """

    partitions: Sequence[ReplayedPartition]
    alternative: bool

    @property
    def different(self) -> list[tuple[str, Effect]]:
        """The tenants whose sides differ, with the largest difference of time asleep first."""
        effects = [item for each in self.partitions for item in each.tenants.items() if item[1].differs]
        return sorted(effects, key=lambda item: (-_different_ms(item[1]), item[0]))

    @property
    def inexact(self) -> dict[str, str | None]:
        """The inexact tenants, and the position of the record that each begins with; None for none."""
        named = {
            tenant: None if offset is None else f"{each.range.partition}:{offset}"
            for each in self.partitions
            for tenant, offset in each.inexact.items()
        }
        return dict(sorted(named.items()))

    @property
    def audit_differences(self) -> int:
        """How many published rows are not those of the replay under the recorded rules, or the reverse."""
        return sum(each.audit_differences for each in self.partitions)

    @property
    def audit_examples(self) -> list[RowDifference]:
        """The first of these, by partition."""
        return [example for each in self.partitions for example in each.audit_examples]

    def totals(self) -> dict[str, Any]:
        """Return the sums over all tenants: transitions, refusals and seconds asleep by depth, for each side."""
        effects = [effect for each in self.partitions for effect in each.tenants.values()]
        sides = {name: [getattr(effect, name) for effect in effects] for name in SIDES}
        seconds: dict[str, dict[str, float]] = {}
        for name, timelines in sides.items():
            asleep: Counter[str] = Counter(light=0, deep=0, freeze=0)
            for timeline in timelines:
                asleep.update({depth: round(value * 1000) for depth, value in timeline.seconds().items()})
            seconds[name] = {depth: value / 1000 for depth, value in asleep.items()}
        return {
            "transitions": {
                **{name: sum(each.transitions for each in timelines) for name, timelines in sides.items()},
                "only_recorded": sum(effect.only_recorded for effect in effects),
                "only_replayed": sum(effect.only_replayed for effect in effects),
            },
            "refusals": {name: sum(each.refusals for each in timelines) for name, timelines in sides.items()},
            "seconds_asleep": seconds,
        }

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        totals, different = self.totals(), self.different
        changes = [change for each in self.partitions for change in each.changes]
        return {
            "alternative": self.alternative,
            "events": sum(each.events for each in self.partitions),
            "failed": sum(each.failed for each in self.partitions),
            "tenants": {
                "replayed": sum(len(each.tenants) for each in self.partitions),
                "different": len(different),
                "inexact": len(self.inexact),
            },
            **totals,
            "different": [effect.as_json(tenant) for tenant, effect in different],
            "changes": [change.as_json() for change in changes[:MOST_CHANGES]],
            "inexact": [{"tenant": tenant, "begins": position} for tenant, position in self.inexact.items()],
            "audit": {
                "matched": sum(each.audit_matched for each in self.partitions),
                "different": self.audit_differences,
                "tenants": sorted(tenant for each in self.partitions for tenant in each.audit_tenants),
                "examples": [example.as_json() for example in self.audit_examples],
            },
            "partitions": [_range_document(each) for each in self.partitions],
        }


def _different_ms(effect: Effect) -> int:
    """Return for how long the sides were at different depths, roughly: the sum of the differences by depth, ms."""
    pairs = zip(effect.recorded.asleep_ms, effect.replayed.asleep_ms, strict=True)
    return sum(abs(recorded - replayed) for recorded, replayed in pairs)


def _range_document(each: ReplayedPartition) -> dict[str, Any]:
    range_ = each.range
    return {
        "partition": range_.partition,
        "from": f"{range_.partition}:{range_.first}",
        "to": f"{range_.partition}:{range_.next}",
        "from_at": range_.from_at,
        "to_at": range_.to_at,
        "folded_from": f"{range_.partition}:{range_.read_from}",
        "warms_up": range_.warms_up,
        "events": each.events,
    }
