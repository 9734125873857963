"""The audit row."""

from typing import get_args

import pytest
from msgspec.structs import replace

from schemas.domain.claim import Cause, CauseKind
from schemas.domain.policy import BUILT_IN_RULES
from schemas.wire.documents import TransitionRecord
from schemas.wire.operation import RefusalCode
from schemas.wire.transition import Transition
from tests.support.times import NOW

ROW = Transition(
    id="3:1042:0",
    kind="transition",
    tenant="acme",
    before="active",
    after="freeze",
    cause=Cause("breaker", "payments@pod-1"),
    event_id="e-1",
    event_type="sleep.breaker.v1",
    operation_id=None,
    actor=None,
    reason="timeouts",
    code=None,
    decision=None,
    decision_id=None,
    enforced=True,
    at=NOW,
    position="3:1042",
    rules=BUILT_IN_RULES.digest,
)


def test_a_row_has_exactly_the_fields_of_the_design() -> None:
    """`from` and `to` are what was decided before and after."""
    document = ROW.as_json()
    assert set(document) == {
        "id", "kind", "tenant", "from", "to", "cause", "event_id", "event_type", "operation_id", "actor",
        "reason", "code", "decision", "decision_id", "enforced", "at", "position", "rules",
    }  # fmt: skip
    assert (document["from"], document["to"]) == ("active", "freeze")
    assert document["cause"] == {"kind": "breaker", "key": "payments@pod-1"}


@pytest.mark.parametrize("kind", get_args(CauseKind))
def test_a_transition_of_every_cause_is_what_its_model_says(kind: CauseKind) -> None:
    """With a key and without."""
    for key in ("op-1", None):
        TransitionRecord.model_validate(replace(ROW, cause=Cause(kind, key)).as_json())


@pytest.mark.parametrize("code", get_args(RefusalCode))
def test_a_refusal_with_every_code_is_what_its_model_says(code: RefusalCode) -> None:
    """It has no cause, and its digest is that of the decision asked for."""
    refusal = replace(ROW, kind="refusal", cause=None, code=code, operation_id="op-1", decision="0f" * 16)
    TransitionRecord.model_validate(refusal.as_json())
