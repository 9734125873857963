"""What a replay comes to for each tenant: changes, refusals, and the time at each depth, side by side. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from schemas.domain.state import BY_LABEL, LABELS, SleepState, StateName
from worker.recovery.what_if.state_changes import DifferentChange, StateChange

MOST_CHANGES: Final = 1_000
"""How many changes that differ a partition lists. The others are only counted, so that memory stays flat."""
_SLEEPING: Final = (SleepState.light, SleepState.deep, SleepState.freeze)


class Timeline:
    """One tenant in one scenario: its state as time passes.

    Args:
        state: the state with which it begins.
        begin: when it begins, ms.

    Attributes:
        state: the present state.
        asleep_ms: the time at each depth so far, by depth.
        transitions, refusals: how many there were.
    """

    __slots__ = ("_begin", "_since", "asleep_ms", "refusals", "state", "transitions")

    def __init__(self, state: SleepState, begin: int) -> None:
        self.state = state
        self.asleep_ms = [0, 0, 0, 0]
        self.transitions = 0
        self.refusals = 0
        self._begin = begin
        self._since = begin

    def follow(self, changes: Iterable[StateChange]) -> list[StateChange]:
        """Take the next changes, in order; return those that count, since they are not from before the beginning.

        Expirations are noticed late: the first event of the range may notice what had ended before.
        """
        counted = []
        for change in changes:
            self.until(change.at)
            self.state = BY_LABEL[change.after] if change.enforced else SleepState.active
            if change.at >= self._begin:
                counted.append(change)
        self.transitions += len(counted)
        return counted

    def until(self, at: int) -> None:
        """Count the time in the present state up to a time, ms; an earlier time than the last counts nothing."""
        if at > self._since:
            self.asleep_ms[self.state] += at - self._since
            self._since = at

    def seconds(self) -> dict[StateName, float]:
        """Return the seconds asleep, by depth."""
        return {LABELS[depth]: self.asleep_ms[depth] / 1000 for depth in _SLEEPING}


class Effect:
    """One tenant, side by side.

    Attributes:
        recorded, replayed: the tenant in each scenario; the same object without an alternative.
        only_recorded, only_replayed: how many changes only one side has.
    """

    __slots__ = ("only_recorded", "only_replayed", "recorded", "replayed")

    def __init__(self, recorded: Timeline, replayed: Timeline) -> None:
        self.recorded = recorded
        self.replayed = replayed
        self.only_recorded = 0
        self.only_replayed = 0

    @property
    def differs(self) -> bool:
        """Whether the sides differ."""
        return (
            bool(self.only_recorded or self.only_replayed)
            or self.recorded.asleep_ms != self.replayed.asleep_ms
            or self.recorded.refusals != self.replayed.refusals
        )

    def as_json(self, tenant: str) -> dict[str, Any]:
        """Return the document form."""
        sides = {"recorded": self.recorded, "replayed": self.replayed}
        return {
            "tenant": tenant,
            "state": {name: side.state.label for name, side in sides.items()},
            "transitions": {
                **{name: side.transitions for name, side in sides.items()},
                "only_recorded": self.only_recorded,
                "only_replayed": self.only_replayed,
            },
            "refusals": {name: side.refusals for name, side in sides.items()},
            "seconds_asleep": {name: side.seconds() for name, side in sides.items()},
        }


class Effects:
    """All tenants of a partition.

    Attributes:
        tenants: the effect on each tenant that has a record at any time of the range, or was refused something.
        changes: the changes of one side only, at most `MOST_CHANGES`.
    """

    def __init__(self) -> None:
        self.tenants: dict[str, Effect] = {}
        self.changes: list[DifferentChange] = []

    def begin(self, tenant: str, state: SleepState, at: int, *, alternative: bool) -> None:
        """Begin to count a tenant, which is in this state on both sides.

        Args:
            tenant: its name.
            state: its state.
            at: from when on it is counted, ms.
            alternative: whether there are two sides.
        """
        recorded = Timeline(state, at)
        self.tenants[tenant] = Effect(recorded, Timeline(state, at) if alternative else recorded)

    def follow(
        self, tenant: str, recorded: Sequence[StateChange], replayed: Sequence[StateChange], position: str | None
    ) -> None:
        """Take the changes of both sides at the same event.

        Args:
            tenant: its name.
            recorded: the changes in the recorded scenario.
            replayed: those in the alternative scenario; nothing without an alternative.
            position: of the event, None at the beginning and at the end.
        """
        effect = self.tenants[tenant]
        recorded = effect.recorded.follow(recorded)
        if effect.replayed is effect.recorded:
            return
        replayed = effect.replayed.follow(replayed)
        if recorded == replayed:
            return
        left, right = Counter(recorded), Counter(replayed)
        lost, gained = left - right, right - left
        effect.only_recorded += lost.total()
        effect.only_replayed += gained.total()
        for side, changes in (("recorded", lost), ("replayed", gained)):
            room = MOST_CHANGES - len(self.changes)
            self.changes += [
                DifferentChange(tenant, side, change, position) for change in list(changes.elements())[:room]
            ]
