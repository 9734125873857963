"""What to do with a partition in a rebuild: one pure function, `decide`."""

from enum import Enum
from typing import Final, NamedTuple

from worker.recovery.errors import ContradictionError
from worker.recovery.evidence import PartitionEvidence

# How many tenants an error names.
_NAMED: Final = 5


class Action(Enum):
    """How the records of a partition are made again.

    Attributes:
        REPLAY: the log begins at offset 0, so it says everything. A tenant without a published state is folded from
            nothing. A published state only saves the time to fold the events before it.
        RESUME_FROM_STATES: the log's beginning is gone. Each tenant begins with its published state, and the events
            after that are folded.
        TAKE_STATES_AS_THEY_ARE: the log is another one. Nothing is folded; the workers read the new log from its
            start.
    """

    REPLAY = "replay"
    RESUME_FROM_STATES = "resume from states"
    TAKE_STATES_AS_THEY_ARE = "take states as they are"


class Refuse(NamedTuple):
    """The partition cannot be rebuilt; the reason says why, and what to do."""

    reason: str


class LogFindings(NamedTuple):
    """What reading the log showed.

    Attributes:
        recognised: whether the log holds a record from which a state stems.
        contradiction: why the log is not the one from which the states stem, None if nothing speaks against it.
        defect: why no state can be made of the log, None if the replay succeeded.
    """

    recognised: bool
    contradiction: str | None = None
    defect: str | None = None


Decision = Action | Refuse


def decide(evidence: PartitionEvidence, log: LogFindings | None = None, *, force: bool) -> Decision:
    """Decide what to do with a partition that is to be rebuilt.

    A rebuild asks twice: before it reads the log, and behind it. The second answer stands.

    Args:
        evidence: what the topics say.
        log: what reading the log showed, None before it was read.
        force: whether the operator accepts a log that was truncated or recreated, and what is lost by that.
    """
    if log is not None and log.defect is not None:
        return Refuse(log.defect)
    if log is not None and log.contradiction is not None:
        return Action.TAKE_STATES_AS_THEY_ARE if force else Refuse(log.contradiction)
    truncated = evidence.applied > evidence.end
    if truncated and not force:
        return Refuse(why_truncated(evidence))
    try:
        evidence.history.rules()
    except ContradictionError as error:
        return Refuse(str(error))
    if truncated and log is not None and not log.recognised and not evidence.start and not ignored_states(evidence):
        # The log begins at offset 0, and no state stems from any of its records.
        return Action.TAKE_STATES_AS_THEY_ARE
    return Action.RESUME_FROM_STATES if evidence.start else Action.REPLAY


def ignored_states(evidence: PartitionEvidence) -> dict[str, int]:
    """Return the tenants with a state from beyond the log's end that another program wrote, and its offset."""
    return evidence.states_beyond_end if evidence.beyond_end_is_foreign else {}


def why_truncated(evidence: PartitionEvidence) -> str:
    """Return why a log that ends before what was applied is refused, and which command accepts it."""
    beyond, partition = list(evidence.states_beyond_end.items()), evidence.partition
    states = "".join(f"tenant {tenant} has a state from {partition}:{offset}, " for tenant, offset in beyond[:_NAMED])
    if len(beyond) > _NAMED:
        states += f"{len(beyond) - _NAMED} more tenants likewise, "
    if beyond and evidence.beyond_end_is_foreign:
        return (
            f"partition {partition}: {states}and the log ends at {evidence.end}. The committed offset and the audit "
            "lie within the log, so another program wrote to the states topic. A worker with an intact Redis repairs "
            f"the topic. `sleepctl rebuild --partition {partition} --force` ignores such states"
        )
    return (
        f"partition {partition}: {states}{evidence.applied} records were applied and the log ends at {evidence.end}. "
        f"The log was truncated, or {recreated(partition)}"
    )


def recreated(partition: int) -> str:
    """Return what to do where the log is not the one from which the states stem."""
    return (
        f"its topic was recreated. `sleepctl rebuild --partition {partition} --force` takes the states as they were "
        "published; events that the log lost stay lost"
    )
