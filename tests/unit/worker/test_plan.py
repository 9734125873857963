"""What a rebuild decides to do with a partition: one row a case."""

from collections.abc import Sequence

import pytest

from tests.support.batches import apply_all
from tests.support.events import breaker, rules
from tests.support.records import Source
from tests.unit.worker.rebuilds import evidence_of, log_of, topic
from worker.recovery.evidence import PartitionEvidence
from worker.recovery.plan import Action, Decision, LogFindings, Refuse, decide

RECOGNISED = LogFindings(recognised=True)
UNKNOWN = LogFindings(recognised=False)
OTHER = LogFindings(recognised=True, contradiction="the log holds another tenant's record")
BROKEN = LogFindings(recognised=True, defect="our own code fails on most of the records")


def evidence(
    *, tenants: int = 2, start: int = 0, end: int = 2, committed: int | None = None, audit: bool = True
) -> PartitionEvidence:
    """Return the evidence of a lane that published a state of each tenant, one an offset from 0 on.

    Args:
        tenants: how many tenants.
        start: of the log.
        end: of the log.
        committed: by the workers' group.
        audit: whether the transitions topic has the rows, too.
    """
    lane = apply_all(log_of(*[breaker("open", tenant=f"t-{number}") for number in range(tenants)]), [1] * tenants)
    rows: Sequence[Source] = topic(lane.transitions) if audit else ()
    return evidence_of(topic(lane.states), rows, start, end, committed)


def with_rules(numbers: Sequence[int], *, end: int = 3) -> PartitionEvidence:
    """Return the evidence of a lane that folded two rules, of which the topic has those with these numbers."""
    lane = apply_all(log_of(rules({}), rules({"retire_after_seconds": 60}), breaker("open")), [1, 2])
    states = topic(lane.states)
    return evidence_of([states[number - 1] for number in numbers], (), 0, end, committed=min(end, 2))


WHOLE, TRIMMED, EMPTY = evidence(), evidence(start=1), evidence_of((), (), 0, 0)
# What was applied ends at 9: by states, or by the committed offset and the audit as well.
CUT, FOREIGN = evidence(tenants=9), evidence(tenants=9, committed=2, audit=False)
CUT_AND_TRIMMED = evidence(tenants=9, start=1)
NAMED = "".join(f"tenant t-{number} has a state from 0:{number}, " for number in range(2, 7))
BEYOND = f"partition 0: {NAMED}2 more tenants likewise, "
FORCE = "`sleepctl rebuild --partition 0 --force`"
WAS_CUT = (
    f"records were applied and the log ends at 2. The log was truncated, or its topic was recreated. {FORCE} takes the "
    "states as they were published; events that the log lost stay lost"
)
CUT_IS_WHY = Refuse(f"{BEYOND}9 {WAS_CUT}")
COMMITTED_IS_WHY = Refuse(f"partition 0: 5 {WAS_CUT}")
FOREIGN_IS_WHY = Refuse(
    f"{BEYOND}and the log ends at 2. The committed offset and the audit lie within the log, so another program wrote "
    f"to the states topic. A worker with an intact Redis repairs the topic. {FORCE} ignores such states"
)
NO_RULES_1 = Refuse(
    "states partition 0 lacks the rules of number 1. A rebuild needs them: restore Redis from its own backup or AOF"
)
REPLAY, RESUME, TAKE = Action.REPLAY, Action.RESUME_FROM_STATES, Action.TAKE_STATES_AS_THEY_ARE


@pytest.mark.parametrize(
    ("topics", "log", "force", "decision"),
    [
        # The log is whole.
        pytest.param(WHOLE, None, False, REPLAY, id="log begins at 0"),
        pytest.param(WHOLE, RECOGNISED, False, REPLAY, id="log begins at 0, and was read"),
        pytest.param(WHOLE, UNKNOWN, False, REPLAY, id="log begins at 0, no state stems from it"),
        pytest.param(WHOLE, RECOGNISED, True, REPLAY, id="force changes nothing"),
        pytest.param(EMPTY, None, False, REPLAY, id="nothing was ever published"),
        pytest.param(EMPTY, UNKNOWN, True, REPLAY, id="nothing was ever published, by force"),
        # The log's beginning is gone.
        pytest.param(TRIMMED, None, False, RESUME, id="log was trimmed"),
        pytest.param(TRIMMED, UNKNOWN, False, RESUME, id="log was trimmed, no state stems from it"),
        pytest.param(TRIMMED, RECOGNISED, True, RESUME, id="log was trimmed, force changes nothing"),
        pytest.param(evidence(start=2), None, False, RESUME, id="log is empty, nothing is missing at its end"),
        # The log ends before what was applied.
        pytest.param(CUT, None, False, CUT_IS_WHY, id="log ends before states and audit"),
        pytest.param(
            evidence_of((), (), 0, 2, 5), None, False, COMMITTED_IS_WHY, id="log ends before committed offset"
        ),
        pytest.param(FOREIGN, None, False, FOREIGN_IS_WHY, id="log ends before states alone"),
        pytest.param(CUT, None, True, REPLAY, id="log was truncated, accepted, not read"),
        pytest.param(CUT, RECOGNISED, True, REPLAY, id="log was truncated, accepted, recognised"),
        pytest.param(CUT, UNKNOWN, True, TAKE, id="log was recreated, accepted"),
        pytest.param(CUT_AND_TRIMMED, RECOGNISED, True, RESUME, id="log was truncated and trimmed, accepted"),
        pytest.param(CUT_AND_TRIMMED, UNKNOWN, True, RESUME, id="log was truncated and trimmed, unknown"),
        pytest.param(FOREIGN, UNKNOWN, True, REPLAY, id="foreign states are ignored, accepted"),
        pytest.param(with_rules([1, 2], end=1), None, True, REPLAY, id="log ends before rules, accepted, not read"),
        pytest.param(with_rules([1, 2], end=1), UNKNOWN, True, TAKE, id="log ends before rules, recreated, accepted"),
        # The log is another one.
        pytest.param(WHOLE, OTHER, False, Refuse("the log holds another tenant's record"), id="other log"),
        pytest.param(WHOLE, OTHER, True, TAKE, id="other log, accepted"),
        pytest.param(TRIMMED, OTHER, True, TAKE, id="other log, trimmed, accepted"),
        pytest.param(CUT, OTHER, True, TAKE, id="other log that is shorter, accepted"),
        # Nothing can be made of it, and force does not help.
        pytest.param(WHOLE, BROKEN, False, Refuse("our own code fails on most of the records"), id="defect"),
        pytest.param(CUT, BROKEN, True, Refuse("our own code fails on most of the records"), id="defect, by force"),
        pytest.param(with_rules([2]), None, False, NO_RULES_1, id="rules are missing"),
        pytest.param(with_rules([2]), RECOGNISED, True, NO_RULES_1, id="rules are missing, by force"),
    ],
)
def test_the_decision(
    topics: PartitionEvidence,
    log: LogFindings | None,
    force: bool,  # noqa: FBT001
    decision: Decision,
) -> None:
    """By what the topics say, what reading the log showed, and whether the operator accepts a loss."""
    assert decide(topics, log, force=force) == decision
