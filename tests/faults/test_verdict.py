"""What the verdict of a run notices: each check fails on a run that was tampered with."""

from collections.abc import Sequence
from typing import Any, Final

import pytest

from schemas.kafka.source_record import Failure
from schemas.wire import events
from schemas.wire.cloudevents import STRUCTURED_HEADERS, Headers
from tests.faults.callers import Answer, Command, Request
from tests.faults.emitters import is_rubbish
from tests.faults.verdict import check_answers, check_arrived, check_dead_letters, check_timers
from tests.support.events import event_bytes
from tests.support.fakes import LogRecord
from worker.fold.dead_letter import dead_letter

TENANT: Final = "acme"
SLEEP: Final = Request("operation", "POST", "/api/util/sleep", {"target_state": "deep", "ttl_seconds": 4}, {})
TOLD: Final[dict[str, Any]] = {
    "operation_id": "op-1", "tenant_id": TENANT, "type": "operation", "target_state": "deep", "created_at": 1_000,
    "expires_at": 5_000, "code": None, "state": "deep", "previous_state": "active", "position": "0:7",
    "actor": "ops@acme", "reason": None, "trace_id": None, "refused": False, "cancelled_at": None,
}  # fmt: skip


def told(*answers: Answer, request: Request = SLEEP) -> Command:
    """Return a command that was answered so."""
    command = Command(TENANT, "k-1", request)
    command.answers += answers
    return command


def check(command: Command, outcome: dict[str, Any] | None, cut: int = 0) -> None:
    """Hold it against one outcome of the log."""
    judged = {} if outcome is None else {(TENANT, "op-1"): outcome}
    check_answers(command, outcome, judged, {0: cut})


def record(
    value: bytes, offset: int = 0, *, timestamp: int = 1_000, headers: Headers = STRUCTURED_HEADERS
) -> LogRecord:
    """Return a record of the events topic."""
    return LogRecord("t.events", 0, offset, timestamp, TENANT.encode(), value, headers)


def event(type_: str, data: dict[str, Any], id_: str = "e-1", source: str = "urn:test") -> bytes:
    """Return an event of the tenant."""
    return event_bytes(type_, data, TENANT, id_=id_, source=source)


OK: Final = Answer(200, None, TOLD)
WITHOUT_TEXTS: Final = TOLD | {"actor": None}
OVER: Final = Answer(200, None, WITHOUT_TEXTS | {"finished_at": 5_000})
UNKNOWN: Final = Answer(503, "outcome_unknown", {})
AWAY: Final = Answer(503, "redis_unavailable", {})
BROKEN: Final = Answer(0, None, {})


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([OK], TOLD),
        ([BROKEN, UNKNOWN, OK, OK], TOLD),
        ([OK, OVER], TOLD),
        ([BROKEN], None),
        ([UNKNOWN, BROKEN], TOLD),
        ([AWAY, AWAY], None),
        ([], TOLD),
        ([Answer(422, "ttl_out_of_range", {})], TOLD | {"refused": True, "code": "ttl_out_of_range"}),
        ([Answer(202, None, {})], TOLD),
    ],
)
def test_what_may_be_answered(answers: Sequence[Answer], outcome: dict[str, Any] | None) -> None:
    """An answer agrees with the log; where the connection broke or the ack was lost, anything may have happened."""
    check(told(*answers), outcome)


@pytest.mark.parametrize(
    ("answers", "outcome", "finding"),
    [
        ([OK], None, "not in the log"),
        ([Answer(200, None, WITHOUT_TEXTS | {"finished_at": None})], TOLD, "answered otherwise"),
        ([Answer(202, None, {})], None, "not in the log"),
        ([OK], TOLD | {"refused": True, "code": "too_late"}, "refused in the log"),
        ([OK], TOLD | {"position": "0:8"}, "otherwise than judged"),
        ([OK, Answer(200, None, TOLD | {"expires_at": 6_000})], TOLD, "otherwise than judged"),
        ([Answer(200, None, TOLD | {"target_state": None})], TOLD, "otherwise than judged"),
        ([AWAY, AWAY], TOLD, "nothing was published"),
        ([Answer(503, "too_late", {})], TOLD, "refused as too_late"),
        ([Answer(409, "too_many_operations", {})], None, "not in the log"),
        ([Answer(500, "internal_error", {})], None, "nobody should get"),
        ([Answer(403, "forbidden", {})], None, "nobody should get"),
    ],
)
def test_an_answer_that_is_not_what_the_log_says_is_noticed(
    answers: Sequence[Answer], outcome: dict[str, Any] | None, finding: str
) -> None:
    """Whichever of a key's answers it is."""
    with pytest.raises(AssertionError, match=finding):
        check(told(*answers), outcome)


def test_a_command_rebuilt_from_its_audit_row_may_lack_fields_of_no_row() -> None:
    """And nothing else."""
    check(told(Answer(200, None, TOLD | {"target_state": None, "expires_at": None})), TOLD, cut=8)
    with pytest.raises(AssertionError, match="otherwise"):
        check(told(Answer(200, None, TOLD | {"created_at": None})), TOLD, cut=8)


def test_a_cancel_that_was_answered_has_cancelled() -> None:
    """Its answer shows the operation."""
    request = Request("cancel", "DELETE", "/api/util/sleep/op-1", None, {})
    cancel = TOLD | {"operation_id": "c-1", "type": "cancel", "position": "0:9"}
    command = told(OK, request=request)
    check_answers(command, cancel, {(TENANT, "op-1"): TOLD | {"cancelled_at": 2_000}}, {0: 0})
    with pytest.raises(AssertionError, match="not cancelled"):
        check_answers(command, cancel, {(TENANT, "op-1"): TOLD}, {0: 0})


def test_a_dead_letter_that_was_no_rubbish_and_rubbish_that_is_none_are_noticed() -> None:
    """By topic, partition and offset, however often they come."""
    good = record(event(events.BREAKER, {"breaker": "db", "state": "open"}), 0)
    bad = record(b"{", 1)
    assert (is_rubbish(good.value), is_rubbish(bad.value)) == (False, True)

    def letter(of: LogRecord) -> LogRecord:
        key, value, headers = dead_letter(of, Failure("undecodable", ""))
        return LogRecord("t.deadletter", 0, 0, 2_000, key, value, headers)

    check_dead_letters([good, bad], [letter(bad), letter(bad)])
    with pytest.raises(AssertionError, match=r"not sent as rubbish: .*'t.events', 0, 0.*; no dead"):
        check_dead_letters([good, bad], [letter(bad), letter(good)])
    with pytest.raises(AssertionError, match=r"no dead letter: .*'t.events', 0, 1"):
        check_dead_letters([good, bad], [])


def test_an_event_that_got_lost_on_its_way_into_the_log_is_noticed() -> None:
    """Through ingress, or after an API accepted it."""
    there = event(events.BREAKER, {"breaker": "db", "state": "open"}, "i-1", "urn:test:emitter")
    lost = event(events.BREAKER, {"breaker": "db", "state": "open"}, "i-2", "urn:test:emitter")
    check_arrived([record(there)], [record(there)], ["i-1"])
    with pytest.raises(AssertionError, match="lost on ingress"):
        check_arrived([record(there)], [record(there), record(lost)], [])
    with pytest.raises(AssertionError, match="accepted by an API"):
        check_arrived([record(there)], [], ["i-2"])


def test_a_timer_that_came_early_is_noticed() -> None:
    """By the log's own time, to the millisecond."""
    timer = event(events.TIMER, {"due_at": 1_000})
    check_timers([record(timer, timestamp=1_000), record(b"{")])
    with pytest.raises(AssertionError, match="1 ms early"):
        check_timers([record(timer, timestamp=999)])
