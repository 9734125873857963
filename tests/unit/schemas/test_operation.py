"""What is remembered of a command: its status over time, its digest, and its layout."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from schemas.domain.sealing import NewerCodeError, NewerLayoutError, seal
from schemas.domain.state import SleepState
from schemas.wire.cloudevents import parse
from schemas.wire.documents import OperationDocument, OperationList
from schemas.wire.events import CancelEvent, CommandEvent, ModeEvent, OperationEvent, PolicyEvent
from schemas.wire.operation import CommandType, OperationRecord, RefusalCode, Status, decision_digest, type_of
from tests.support.claims import QUICK
from tests.support.events import event_bytes
from tests.support.operations import outcome
from tests.support.times import NOW

RECORD = outcome(position="3:1042", decision="0f" * 16)
REFUSED = RECORD._replace(refused=True, code="ttl_out_of_range", detail="too long", expires_at=None)


@pytest.mark.parametrize(("later", "status"), [(0, "running"), (59_999, "running"), (60_000, "completed")])
def test_an_operation_runs_until_its_ttl_is_over(later: int, status: Status) -> None:
    """Nothing is written when it completes."""
    assert RECORD.status(NOW + later) == status


def test_a_running_operation_has_no_end_yet() -> None:
    """`finished_at` is null until then, and then its `expires_at`."""
    assert RECORD.as_json(NOW)["finished_at"] is None
    assert RECORD.as_json(NOW + 60_000)["finished_at"] == NOW + 60_000


def test_a_cancelled_operation_ended_when_it_was_cancelled() -> None:
    """Also after its TTL."""
    cancelled = RECORD._replace(cancelled_at=NOW + 10)
    assert {cancelled.status(NOW + later) for later in (10, 60_000, 10**9)} == {"cancelled"}
    assert cancelled.as_json(NOW + 10**9)["finished_at"] == NOW + 10


def test_a_refused_command_was_over_at_once() -> None:
    """With its code."""
    document = REFUSED.as_json(NOW)
    assert (document["status"], document["finished_at"]) == ("refused", NOW)
    assert document["code"] == "ttl_out_of_range"


@pytest.mark.parametrize("type_", ["cancel", "mode", "policy"])
@pytest.mark.parametrize("later", [-5, 0, 10**9])
def test_other_commands_are_completed_at_once(type_: CommandType, later: int) -> None:
    """Also where a mode has a TTL, and where the reader's clock is behind the log's."""
    record = RECORD._replace(type=type_)
    document = record.as_json(NOW + later)
    assert (document["status"], document["finished_at"]) == ("completed", NOW)


@pytest.mark.parametrize("code", get_args(RefusalCode))
def test_every_document_is_what_its_model_says(code: RefusalCode) -> None:
    """For every code of a refusal, and in a list."""
    documents = [RECORD.as_json(NOW), REFUSED._replace(code=code, target_state=None).as_json(NOW)]
    for document in documents:
        OperationDocument.model_validate(document)
    OperationList.model_validate({"operations": documents})


texts = st.one_of(st.none(), st.text(max_size=20))
records = st.builds(
    OperationRecord,
    operation_id=st.text(max_size=20),
    tenant_id=st.text(max_size=20),
    type=st.sampled_from(get_args(CommandType)),
    refused=st.booleans(),
    cancelled_at=st.one_of(st.none(), st.integers()),
    target_state=st.one_of(st.none(), st.sampled_from(SleepState)),
    created_at=st.integers(),
    expires_at=st.one_of(st.none(), st.integers()),
    code=st.one_of(st.none(), st.sampled_from(get_args(RefusalCode))),
    detail=texts,
    state=st.sampled_from(SleepState),
    previous_state=st.sampled_from(SleepState),
    position=st.text(max_size=20),
    actor=st.text(max_size=20),
    reason=texts,
    trace_id=texts,
    decision=st.text(max_size=32),
)


@QUICK
@given(records)
def test_a_command_s_record_survives_redis(record: OperationRecord) -> None:
    """Every field, with the states as states."""
    again = OperationRecord.unpack(record.pack())
    assert again == record
    assert type(again.state) is SleepState


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[1]",
        b"[0]",
        to_json([2, *RECORD]),
        to_json([1, *RECORD, 0]),
        b"[1," + b"9," * 16 + b"9]",
    ],
)
def test_bytes_that_are_no_command_s_record_are_refused(packed: bytes) -> None:
    """As a ValueError, though the checksum is right."""
    with pytest.raises(ValueError, match=r"."):
        OperationRecord.unpack(seal(packed))


def test_a_newer_layout_of_a_command_s_record_is_refused_as_such() -> None:
    """The worker stops, and the error says what to do."""
    with pytest.raises(NewerLayoutError, match="layout 2 is newer than 1; run the newer version"):
        OperationRecord.unpack(seal(to_json([2, *RECORD])))


@pytest.mark.parametrize("name", ["target_state", "state", "previous_state"])
def test_an_unknown_state_in_a_command_s_record_is_of_a_newer_release(name: str) -> None:
    """Nothing is damaged."""
    with pytest.raises(NewerCodeError, match=r"^state 9 is of a newer release; upgrade"):
        OperationRecord.unpack(seal(to_json([1, *(RECORD._asdict() | {name: 9}).values()])))


def test_the_order_of_the_packed_fields_never_changes() -> None:
    """Redis holds the fields by their place."""
    names = "operation_id tenant_id type refused cancelled_at target_state created_at expires_at code detail state "
    names += "previous_state position actor reason trace_id decision"
    assert list(OperationRecord._fields) == names.split()


def test_a_flipped_byte_in_a_command_s_record_is_found() -> None:
    """A repeat is never judged by it."""
    packed = RECORD.pack()
    for place in range(len(packed)):
        with pytest.raises(ValueError, match="damaged: its checksum is wrong"):
            OperationRecord.unpack(packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :])


def event(type_: str, **data: Any) -> Any:  # noqa: ANN401 - any command
    """Return a command; what a repeat may change has other values each time that it is given."""
    return parse(event_bytes(f"sleep.{type_}.v1", {"operation_id": "op", "actor": "ops"} | data))


def test_the_type_of_a_command_is_its_short_name() -> None:
    """As readers see it."""
    data: dict[str, tuple[type[CommandEvent], dict[str, Any]]] = {
        "operation": (OperationEvent, {"target": "deep"}),
        "cancel": (CancelEvent, {"cancels": "op-0"}),
        "mode": (ModeEvent, {"target": "deep"}),
        "policy": (PolicyEvent, {"policy": None}),
    }
    assert set(data) == set(get_args(CommandType))
    for name, (model, fields) in data.items():
        command = event(name, **fields)
        assert isinstance(command, model)
        assert type_of(command) == name


SCHEDULE = {
    name: {"K": 9, "t": 1, "tau": 1, "eta": 0, "lambda": 0, "B": 1} for name in ("active", "light", "deep", "freeze")
}
SCHEDULE_IN_FLOATS = {name: {key: float(value) for key, value in set_.items()} for name, set_ in SCHEDULE.items()}


@pytest.mark.parametrize(
    ("type_", "one", "other"),
    [
        ("operation", {"target": "deep", "ttl_ms": 5}, {"target": "deep", "ttl_ms": 5.0}),
        (
            "operation",
            {"target": "deep"},
            {"target": "deep", "ttl_ms": None, "reason": "why", "trace_id": "t"},
        ),
        ("operation", {"target": "deep", "actor": "a"}, {"target": "deep", "actor": "b", "not_after": 7}),
        ("mode", {"target": "deep"}, {"target": "deep", "override": False, "reply_to": "r"}),
        ("policy", {"policy": {}}, {"policy": {"ceiling": "freeze", "max_ttl_seconds": 3600.0}}),
        ("policy", {"policy": {"breakers": [{"match": "*"}]}}, {"policy": {"ramp_seconds": {"wake": 30}}}),
        ("policy", {"policy": {"schedule": SCHEDULE}}, {"policy": {"schedule": SCHEDULE_IN_FLOATS}}),
        (
            "policy",
            {"policy": None, "if_version": 1},
            {"policy": None, "if_version": 1.0, "decision_id": "d"},
        ),
        (
            "policy",
            {"policy": {"x": 1, "y": [2, {"a": 1e2}]}},
            {"policy": {"y": [2.0, {"a": 100}], "x": 1.0}},
        ),
    ],
)
def test_the_same_decision_has_the_same_digest(type_: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Numbers by value, valid policies filled, and people's words do not count."""
    assert decision_digest(event(type_, **one)) == decision_digest(event(type_, **other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("operation", {"target": "deep"}), ("operation", {"target": "light"})),
        (("operation", {"target": "deep", "ttl_ms": 5}), ("operation", {"target": "deep", "ttl_ms": 6})),
        (("operation", {"target": "deep", "ttl_ms": 5}), ("mode", {"target": "deep", "ttl_ms": 5})),
        (("mode", {"target": "deep"}), ("mode", {"target": "deep", "override": True})),
        (("mode", {"target": "deep"}), ("mode", {"target": "deep", "ttl_ms": 1})),
        (("cancel", {"cancels": "a"}), ("cancel", {"cancels": "b"})),
        (("policy", {"policy": None}), ("policy", {"policy": {}})),
        (("policy", {"policy": {}}), ("policy", {"policy": {}, "if_version": 0})),
        (("policy", {"policy": {}}), ("policy", {"policy": {"max_ttl_seconds": 3600.001}})),
        (("policy", {"policy": {"x": 1}}), ("policy", {"policy": {"x": True}})),
        (("policy", {"policy": {"x": []}}), ("policy", {"policy": {"x": {}}})),
        (("policy", {"policy": {"x": [["a", 1]]}}), ("policy", {"policy": {"x": {"a": 1}}})),
        (("policy", {"policy": {"x": None}}), ("policy", {"policy": {}})),
    ],
)
def test_another_decision_has_another_digest(
    one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]
) -> None:
    """Every field that decides counts, in invalid policies as it was sent."""
    assert decision_digest(event(one[0], **one[1])) != decision_digest(event(other[0], **other[1]))


def test_a_digest_is_the_same_in_every_release() -> None:
    """It is kept for days, in Redis and in the audit."""
    assert decision_digest(event("operation", target="deep", ttl_ms=60_000)) == "c186836163682d5705ad591596a671b9"
