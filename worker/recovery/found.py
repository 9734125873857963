"""What was found of a partition before its log is read, and what it says of that log. Pure."""

from typing import Final, NamedTuple

from worker.recovery.aside import SetAside
from worker.recovery.audit import Audit
from worker.recovery.history import History, ImpossibleError

# How many of the tenants an error names.
_NAMED: Final = 5


class OtherLogError(ImpossibleError):
    """The log is not the one that the states stem from: it was cut, or the topic was made anew."""


class Found(NamedTuple):
    """What was found of a partition before its log is read.

    Attributes:
        history, audit: its states and its transitions, read to their ends.
        start, end: the bounds of its events.
        committed: what the workers' group says was applied, None where it says nothing.
        aside: what was set aside of them, None for nothing.
    """

    history: History
    audit: Audit
    start: int
    end: int
    committed: int | None
    aside: SetAside | None = None

    @property
    def applied(self) -> int:
        """The offset behind the last record that is known to have been applied."""
        return max(self.history.newest + 1, self.audit.newest + 1, self.committed or 0)

    @property
    def vacant(self) -> int:
        """The offset at which a tenant of which the states topic has nothing had no record, 0 where that is unknown.

        A log that reaches back tells it better, and one that ends before what was committed may be another.
        """
        committed = self.committed or 0
        return committed if self.start and committed <= self.end else 0

    @property
    def ahead(self) -> dict[str, int]:
        """The tenants with a state from where the log, as it ends, has not come; and its offset."""
        highest = {tenant: versions.highest.offset for tenant, versions in self.history.tenants.items()}
        return {tenant: offset for tenant, offset in sorted(highest.items()) if offset >= self.end}

    @property
    def invented(self) -> bool:
        """Whether such states are somebody else's: all that tells what was applied lies within the log but they."""
        return self.committed is not None and max(self.committed, self.audit.newest + 1) <= self.end


def settled_before(start: int, committed: int | None) -> int | None:
    """Return the offset of the events topic before which a tenant's latest state is the one to begin with.

    What stems from before `committed` was acknowledged whole. What the log no longer holds cannot be folded again,
    so an earlier state would lack it. None: everything is before it.
    """
    return None if committed is None else max(committed, start)


def beyond_the_end(partition: int, found: Found) -> str:
    """Return why a log that ends before what was applied is refused, and by which command it is taken all the same."""
    ahead = list(found.ahead.items())
    states = "".join(f"tenant {tenant} has a state from {partition}:{offset}, " for tenant, offset in ahead[:_NAMED])
    if len(ahead) > _NAMED:
        states += f"{len(ahead) - _NAMED} more tenants likewise, "
    if found.invented and ahead:
        return (
            f"partition {partition}: {states}and the log ends at {found.end}, as does all else that tells what was "
            "applied: somebody else wrote to the states topic. A worker whose Redis is whole appends what is true; "
            f"`sleepctl rebuild --partition {partition} --force` passes such states over"
        )
    return (
        f"partition {partition}: {states}{found.applied} records were applied and the log ends at {found.end}: it was "
        f"cut, or {made_anew(partition)}"
    )


def made_anew(partition: int) -> str:
    """Return what to do where the log is not the one from which the states stem."""
    return (
        f"the log was made anew. `sleepctl rebuild --partition {partition} --force` takes the states as they were "
        "published, whatever was lost"
    )
