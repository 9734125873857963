"""What a run sends to a tenant, and what it makes of the answers."""

import asyncio
from typing import Any

import pytest

from schemas.wire.operation_ids import operation_id_of
from sleepctl.io.api_client import Answer
from sleepctl.mass.commands import CancelAll, MassCommand, OneCommand, ReplacePolicy, StoppedRunError
from sleepctl.mass.run_file import Head, Result
from sleepctl.mass.targets import Target
from tests.unit.sleepctl.mass.fakes import Tenants, once, problem

RUN = Head("wake", {}, "ops", 0)
ID = operation_id_of("acme", "ops", "run:wake")
PIN = {"target_state": "active", "override": True, "ttl_seconds": 60.0}
MODE = OneCommand("POST", "/api/brain/sleep_mode", PIN, {"Prefer": "wait=5"}, takes_reason=True)
DONE = Result(done=True, operation_id=ID)
UNKNOWN = problem(404, "unknown_operation", "the tenant has no operation with this id")


def _send(
    tenants: Tenants, command: MassCommand = MODE, given: object = None, *, old: bool = False, tenant: str = "acme"
) -> Result | None:
    return asyncio.run(command.send(tenants, RUN, Target(tenant, given), old=old))


def test_a_command_has_a_key_that_follows_from_the_run() -> None:
    """And names the run as its reason, which the audit shows."""
    tenants = Tenants("acme")
    assert _send(tenants) == DONE
    method, path, tenant, body, headers = tenants.calls[0]
    assert (method, path, tenant) == ("POST", "/api/brain/sleep_mode", "acme")
    assert body == {**PIN, "reason": "run wake"}
    assert headers == {"Prefer": "wait=5", "Idempotency-Key": "run:wake"}


def test_a_reason_of_the_operator_stays() -> None:
    """It is the better one."""
    tenants = Tenants("acme")
    _send(tenants, MODE._replace(body={**PIN, "reason": "incident 7"}))
    assert tenants.calls[0][3]["reason"] == "incident 7"


def test_a_policy_is_sent_as_it_is() -> None:
    """It has no reason, and a reset has no body."""
    tenants = Tenants("acme")
    put = OneCommand("PUT", "/api/brain/sleep_policy", {"floor": "light"}, {"If-Match": "*"})
    assert _send(tenants, put) == DONE
    assert tenants.policies == {"acme": (1, {"floor": "light"})}
    assert _send(tenants, OneCommand("DELETE", "/api/brain/sleep_policy", None, {"If-Match": "*"})) is not None


def test_sent_again_it_has_the_same_key() -> None:
    """So the log recognises it."""
    tenants = Tenants("acme")
    assert _send(tenants) == _send(tenants) == DONE
    assert tenants.applied == {"acme": 1}


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(202, {"operation_id": ID, "status": "accepted"}, {}), None),
        (
            problem(422, "ttl_out_of_range", "at most 3600 s"),
            Result(done=False, code="ttl_out_of_range", operation_id=ID, detail="at most 3600 s"),
        ),
        (Answer(404, {"title": "Not Found"}, {}), Result(done=False, code="404", operation_id=ID, detail="Not Found")),
    ],
)
def test_an_answer_is_final_unless_it_is_202(answer: Answer, result: Result | None) -> None:
    """A refusal of the API is as final as one of the log."""
    tenants = Tenants("acme")
    tenants.instead = [once(answer)]
    assert _send(tenants) == result


def test_a_token_that_is_not_accepted_stops_the_run() -> None:
    """It may have expired: that is no answer for the tenant."""
    tenants = Tenants("acme")
    tenants.instead = [once(problem(401, "invalid_token", "the token has expired"))]
    with pytest.raises(StoppedRunError, match=r"has expired.*get a new one"):
        _send(tenants)


def _document(status: str, code: str | None = None) -> Answer:
    return Answer(200, {"operation_id": ID, "status": status, "code": code}, {})


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (_document("completed"), DONE),
        (_document("running"), DONE),
        (_document("cancelled"), DONE),
        (_document("refused", "too_late"), Result(done=False, code="too_late", operation_id=ID)),
        (_document("accepted"), None),
    ],
)
def test_an_old_command_is_looked_up_and_not_sent_again(found: Answer, result: Result | None) -> None:
    """The log may have forgotten it, and would apply it a second time."""
    tenants = Tenants("acme")
    tenants.instead = [once(found, path=f"/api/operations/{ID}")]
    assert _send(tenants, old=True) == result
    assert [call[:2] for call in tenants.calls] == [("GET", f"/api/operations/{ID}")]


def test_an_old_command_that_is_nowhere_is_sent() -> None:
    """It never arrived."""
    tenants = Tenants("acme")
    assert _send(tenants, old=True) == DONE
    assert tenants.applied == {"acme": 1}


def test_an_old_command_that_got_no_acknowledgement_is_sent() -> None:
    """Its receipt stays for a day, and the log may never have got it. If it has, it knows the id."""
    tenants = Tenants("acme")
    tenants.instead = [once(_document("accepted", "outcome_unknown"), path=f"/api/operations/{ID}")]
    assert _send(tenants, old=True) == DONE
    assert tenants.applied == {"acme": 1}


def test_an_old_command_that_cannot_be_looked_up_stops_the_run() -> None:
    """Only a command that is unknown is sent."""
    tenants = Tenants("acme")
    tenants.instead = [once(problem(403, "forbidden", "no"), path=f"/api/operations/{ID}")]
    with pytest.raises(StoppedRunError, match="acme cannot be looked up"):
        _send(tenants, old=True)
    assert tenants.applied == {}


def test_each_live_operation_is_cancelled() -> None:
    """With a key of its own."""
    tenants = Tenants("acme")
    tenants.live = {"acme": ["op/1", "op-2"]}
    result = _send(tenants, CancelAll())
    assert result is not None
    assert result.done
    assert tenants.live == {"acme": []}
    assert [call[1] for call in tenants.calls[1:]] == ["/api/util/sleep/op%2F1", "/api/util/sleep/op-2"]
    keys = [call[4]["Idempotency-Key"] for call in tenants.calls[1:]]
    assert len(set(keys)) == 2
    assert all(key.startswith("run:wake:") for key in keys)


def test_a_tenant_without_live_operations_is_done() -> None:
    """And a cancel may be repeated."""
    assert _send(Tenants("acme"), CancelAll()) == Result(done=True, code="nothing_to_cancel")


def test_only_the_operation_that_the_file_names_is_cancelled() -> None:
    """Without a look at the others; one that has ended needs no cancel."""
    tenants = Tenants("acme")
    tenants.live = {"acme": ["op-1", "op-2"]}
    result = _send(tenants, CancelAll(), "op-1")
    assert result is not None
    assert result.done
    assert tenants.live == {"acme": ["op-2"]}
    assert _send(tenants, CancelAll(), "ended") == Result(done=True, code="not_running", operation_id="ended")


@pytest.mark.parametrize(
    ("answer", "path", "done"),
    [
        (Answer(202, {}, {}), "op-1", "unknown"),
        (UNKNOWN, "op-1", "refused"),
        (problem(403, "forbidden", "no"), "sleep", "refused"),
    ],
)
def test_a_cancel_without_success_is_the_answer_of_the_tenant(answer: Answer, path: str, done: str) -> None:
    """The operations after it are left for the next time."""
    tenants = Tenants("acme")
    tenants.live = {"acme": ["op-1", "op-2"]}
    tenants.instead = [once(answer, path=path)]
    result = _send(tenants, CancelAll())
    assert ("unknown" if result is None else "done" if result.done else "refused") == done
    assert tenants.live == {"acme": ["op-1", "op-2"]}


POLICY: dict[str, Any] = {"floor": "light"}


def test_a_policy_replaces_the_version_of_the_file() -> None:
    """Again it changes nothing: the tenant has it."""
    tenants = Tenants("acme")
    tenants.policies = {"acme": (3, {})}
    assert _send(tenants, ReplacePolicy(), [POLICY, 3]) == DONE
    assert tenants.policies == {"acme": (4, POLICY)}
    assert _send(tenants, ReplacePolicy(), [POLICY, 3]) == Result(done=True, code="unchanged")
    assert tenants.policies == {"acme": (4, POLICY)}


def test_another_version_is_a_conflict_that_names_both() -> None:
    """The tenant keeps its policy."""
    tenants = Tenants("acme")
    tenants.policies = {"acme": (5, {"floor": "deep"})}
    result = _send(tenants, ReplacePolicy(), [POLICY, 3])
    assert result is not None
    assert (result.done, result.code) == (False, "version_conflict")
    assert result.detail == "the file has version 3, and the tenant has version 5"
    assert tenants.policies == {"acme": (5, {"floor": "deep"})}
    assert _send(tenants, ReplacePolicy(any_version=True), [POLICY, None]) == DONE


def test_a_default_policy_that_looks_the_same_is_no_policy_of_its_own() -> None:
    """It would change with the rules."""
    tenants = Tenants("acme")
    assert _send(tenants, ReplacePolicy(), [{}, 0]) == DONE
    assert tenants.policies == {"acme": (1, {})}


def test_a_policy_that_cannot_be_read_is_refused() -> None:
    """With the API's reason."""
    tenants = Tenants("acme")
    tenants.instead = [once(problem(403, "forbidden", "no"), method="GET")]
    assert _send(tenants, ReplacePolicy(), [POLICY, 3]) == Result(done=False, code="forbidden", detail="no")
