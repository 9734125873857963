"""The tenants that `sleepctl watch` follows: what is known of each, and which changes are shown. Pure.

A state record has the tenant's forecast. So a change that was forecast is shown at its own time, and once.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from sleepctl.io.event_stream import Event

AWAKE: Final = "active"
Kind = Literal["now", "change", "forecast"]


class Present(NamedTuple):
    """A tenant at a time: what it does, what was decided, since when (ms), and why."""

    state: str
    decided: str
    since: int | None
    cause: Mapping[str, Any] | None

    @property
    def awake(self) -> bool:
        """Whether it is as a tenant that is not listed."""
        return self.state == AWAKE == self.decided

    @property
    def key(self) -> tuple[str, str, int | None]:
        """What is the same in a forecast change and in the record that confirms it."""
        return self.state, self.decided, None if self.awake else self.since


_UNLISTED: Final = Present(AWAKE, AWAKE, None, None)


class Change(NamedTuple):
    """What is shown of a tenant.

    Attributes:
        kind: `now` (at the beginning), `change`, or `forecast` (a change that no record has confirmed yet).
        before: the state that was shown last; None at the beginning.
        following: the next change that is forecast, if any.
    """

    kind: Kind
    tenant: str
    before: str | None
    present: Present
    following: Mapping[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Return the change as a document."""
        following = self.following
        return {
            "event": self.kind,
            "tenant": self.tenant,
            "before": self.before,
            **self.present._asdict(),
            "next": None if following is None else {"at": following["at"], "state": following["state"]},
        }


class Watched:
    """The tenants.

    Args:
        names: the only tenants that are followed; none means all.
        state: only changes from or to this state are shown.

    Attributes:
        live: whether everything is known as it is now.
    """

    def __init__(self, names: Sequence[str], state: str | None) -> None:
        self.live = False
        self._names = names
        self._state = state
        self._records: dict[str, Mapping[str, Any]] = {}
        self._shown: dict[str, Present] = dict.fromkeys(names, _UNLISTED)
        self._rules: dict[int, str | None] = {}
        # The tenants of a snapshot under way; None while there is none.
        self._snapshot: set[str] | None = set()
        self._began = False
        # When the next forecast change of a tenant is due, in ms, and the same in their order.
        self._due: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []
        self._log_time = 0
        self._read_at = 0.0

    @property
    def asleep(self) -> int:
        """How many tenants are not `active`, or would not be without their dry run."""
        return sum(not present.awake for present in self._shown.values())

    def lose(self, *, resumes: bool) -> None:
        """Note that the connection is lost: nothing is live until the next `ready`.

        Args:
            resumes: whether the next connection has an id. One without begins with a snapshot.
        """
        self.live = False
        self._snapshot = None if resumes else set()

    def take(self, event: Event, now: float) -> list[Change]:
        """Take an event, and return what it shows. Before `ready` nothing is shown.

        Args:
            event: of the stream.
            now: monotonic, in seconds.
        """
        data = event.data
        changed = False
        match event.name:
            case "reset":
                self._snapshot = set()
            case "rules":
                self._rules[data["partition"]] = data["position"]
            case "state":
                changed = self._take_state(data)
            case "gone":
                changed = self._take_gone(data)
            case "ready" | "time":
                self._log_time, self._read_at = data["now"], now
                if event.name == "ready":
                    return self._begin(now)
            case _:
                # Of a newer API.
                pass
        return [*self._changes(data["tenant"], self._at(now))] if changed and self.live else []

    def due(self, now: float) -> list[Change]:
        """Return the forecast changes whose time has come; none while the connection is lost."""
        changes: list[Change] = []
        at = self._at(now)
        while self.live and self._order and self._order[0][0] <= at:
            due, tenant = heapq.heappop(self._order)
            if self._due.get(tenant) == due:
                del self._due[tenant]
                changes += self._changes(tenant, at, "forecast")
        return changes

    def seconds_to_next(self, now: float) -> float | None:
        """Return the seconds until a forecast change is due, None if none is."""
        return max(0.0, (self._order[0][0] - self._at(now)) / 1000) if self.live and self._order else None

    def _at(self, now: float) -> int:
        """Return the log's time in ms, which goes on by a clock that nobody sets."""
        return self._log_time + round((now - self._read_at) * 1000)

    def _take_state(self, record: Mapping[str, Any]) -> bool:
        tenant = record["tenant"]
        if self._snapshot is not None:
            self._snapshot.add(tenant)
        known = self._records.get(tenant)
        if known is not None and _offset(record["position"]) < _offset(known["position"]):
            return False
        self._records[tenant] = record
        return True

    def _take_gone(self, data: Mapping[str, Any]) -> bool:
        known = self._records.get(data["tenant"])
        if known is None or _offset(data["position"]) < _offset(known["position"]):
            return False
        del self._records[data["tenant"]]
        return True

    def _begin(self, now: float) -> list[Change]:
        """Be live from now on, and return what is shown of all that is known or has changed meanwhile."""
        if self._snapshot is not None:
            for tenant in self._records.keys() - self._snapshot:
                # Redis may have gone back, and then the snapshot is older than the record.
                position = self._records[tenant]["position"]
                if _offset(position) <= _offset(self._rules.get(int(position.partition(":")[0]))):
                    del self._records[tenant]
        kind: Kind = "change" if self._began else "now"
        self._snapshot, self.live, self._began = None, True, True
        at = self._at(now)
        return [
            change for tenant in sorted({*self._records, *self._shown}) for change in self._changes(tenant, at, kind)
        ]

    def _changes(self, tenant: str, at: int, kind: Kind = "change") -> Iterator[Change]:
        """Yield the change of a tenant since it was shown last, if there is one to show."""
        record = self._records.get(tenant)
        present = _present(record, at)
        before = self._shown.get(tenant, _UNLISTED)
        if record is not None:
            self._plan(tenant, record, at)
        # A dry run of the rules is not listed, so nobody says when its decision changes.
        state = present if tenant in self._records else _UNLISTED
        if state.awake and tenant not in self._names:
            self._shown.pop(tenant, None)
        else:
            self._shown[tenant] = state
        if kind == "now":
            # A tenant that was asked for by its name is shown awake too.
            shown = self._state in (None, present.state) and tenant in self._shown
        else:
            shown = present.key != before.key and self._state in (None, before.state, present.state)
        if shown:
            following = next((step for step in record["forecast"] if step["at"] > at), None) if record else None
            yield Change(kind, tenant, None if kind == "now" else before.state, present, following)

    def _plan(self, tenant: str, record: Mapping[str, Any], at: int) -> None:
        """Look at a tenant again when its next forecast change is due. One that is awake for good is forgotten."""
        last = record["forecast"][-1] if record["forecast"] else record
        ends = [step["at"] for step in record["forecast"]] + [last["parameters"]["ends_at"]]
        due = min((end for end in ends if end > at), default=None)
        if due is None:
            if record["policy"] is None and last["state"] == AWAKE:
                # Nothing comes any more: it is not listed.
                del self._records[tenant]
        elif tenant not in self._due or due < self._due[tenant]:
            self._due[tenant] = due
            heapq.heappush(self._order, (due, tenant))


def _offset(position: str | None) -> int:
    return -1 if position is None else int(position.partition(":")[2])


def _present(record: Mapping[str, Any] | None, at: int) -> Present:
    """Return a tenant as it is at a time; one that is not listed is awake."""
    if record is None:
        return _UNLISTED
    passed = [step for step in record["forecast"] if step["at"] <= at]
    if passed:
        return Present(passed[-1]["state"], passed[-1]["state"], passed[-1]["at"], None)
    return Present(record["state"], record["decided"], record["since"], record["cause"])
