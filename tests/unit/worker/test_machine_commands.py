"""Commands: what each does, its one outcome and answer, every code of refusal, and the order of the checks."""

from collections.abc import Callable

import pytest

from schemas.wire.operation import OperationRecord
from tests.support.events import Document, breaker, cancel, mode, pin, policy, sleep, timer
from tests.support.times import HOUR, MINUTE, SECOND, T
from tests.unit.worker.compared_tenant import Tenant

Make = Callable[..., Document]


def answer_of(tenant: Tenant) -> OperationRecord:
    """Return what the last command's caller was told."""
    assert tenant.last.answer is not None
    return tenant.last.answer


def outcome_row(tenant: Tenant) -> Document:
    """Return the last event's one outcome, or refusal."""
    (row,) = [row.as_json() for row in tenant.last.rows if row.kind != "transition"]
    return row


def test_an_operation_runs_until_its_ttl_and_then_is_completed() -> None:
    """Its completion writes no outcome. A later read shows it as completed."""
    tenant = Tenant()
    tenant(sleep("op", "deep", 10 * SECOND, reason="batch job", trace_id="trace"), T)
    answer = answer_of(tenant)
    assert answer.as_json(T) == {
        "operation_id": "op", "tenant_id": "acme", "type": "operation", "status": "running", "target_state": "deep",
        "created_at": T, "expires_at": T + 10 * SECOND, "finished_at": None, "code": None,
        "state": "deep", "previous_state": "active", "position": "0:42", "actor": "ops", "reason": "batch job",
        "trace_id": "trace",
    }  # fmt: skip
    assert answer.status(T + 10 * SECOND) == "completed"
    assert tenant.last.operations == (answer,)
    tenant(timer(), T + 12 * SECOND)
    assert tenant.moves == [("deep", "active", "expired", "op", T + 10 * SECOND)]
    assert [row.kind for row in tenant.last.rows] == ["transition"]


def test_an_outcome_names_the_enforced_state_and_the_row_the_decision() -> None:
    """In a dry run they differ."""
    tenant = Tenant()
    tenant(policy("p", {"enforce": False}), T)
    tenant(sleep("op", "deep"), T)
    assert (answer_of(tenant).previous_state.label, answer_of(tenant).state.label) == ("active", "active")
    row = outcome_row(tenant)
    assert (row["from"], row["to"], row["enforced"]) == ("active", "deep", False)


def test_a_cancel_ends_an_operation_at_once() -> None:
    """Both are remembered: the cancel as completed, the operation as cancelled."""
    tenant = Tenant()
    tenant(sleep("op"), T)
    tenant(cancel("stop", "op"), T + SECOND)
    assert tenant.state == "active"
    ended = {operation.operation_id: operation for operation in tenant.last.operations}
    assert (ended["stop"].status(T + SECOND), ended["op"].status(T + SECOND)) == ("completed", "cancelled")
    assert ended["op"].finished_at == T + SECOND
    assert answer_of(tenant) == ended["stop"]
    assert answer_of(tenant).expires_at is None


@pytest.mark.parametrize("cancels", ["unknown", "done", "m", "stop", "payments@1"])
def test_only_the_tenants_own_live_operation_can_be_cancelled(cancels: str) -> None:
    """Not one that ended, nor a mode, nor a breaker's claim, nor the cancel itself."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(mode("m", "light"), T)
    tenant(sleep("done", ttl_ms=1), T)
    tenant(cancel("stop", cancels), T + 1)
    assert tenant.codes == ["not_running"]
    assert answer_of(tenant).detail == f"{cancels} is not a live operation of the tenant"


def test_an_operation_can_be_cancelled_once() -> None:
    """The second cancel is another command."""
    tenant = Tenant()
    tenant(sleep("op"), T)
    tenant(cancel("stop", "op"), T)
    tenant(cancel("stop again", "op"), T)
    assert tenant.codes == ["not_running"]


def test_a_mode_without_a_ttl_stays_until_it_is_removed() -> None:
    """Mode `active` removes it."""
    tenant = Tenant()
    tenant(mode("on", "deep"), T)
    assert answer_of(tenant).expires_at is None
    assert tenant.known.claims["mode", "mode"].expires_at is None
    tenant(timer(), T + 400 * 24 * HOUR)
    assert tenant.state == "deep"
    tenant(mode("off", "active"), T + 400 * 24 * HOUR)
    assert tenant.moves == [("deep", "active", "mode", "mode", T + 400 * 24 * HOUR)]
    assert tenant.keys == []


def test_a_mode_with_a_ttl_ends_by_itself() -> None:
    """As an operation does; the command itself is completed at once."""
    tenant = Tenant()
    tenant(mode("on", "deep", MINUTE), T)
    assert answer_of(tenant).expires_at == T + MINUTE
    assert answer_of(tenant).status(T) == "completed"
    tenant(timer(), T + MINUTE)
    assert tenant.moves == [("deep", "active", "expired", "mode", T + MINUTE)]


def test_removing_a_mode_that_is_not_there_is_accepted() -> None:
    """It makes a record, since it is no refusal."""
    tenant = Tenant()
    tenant(mode("off", "active"), T)
    assert tenant.moves == []
    assert answer_of(tenant).status(T) == "completed"
    assert tenant.known.version == 1
    tenant(mode("off again", "active"), T + 1)
    assert not tenant.last.published


def test_removing_the_mode_leaves_the_pin_and_the_other_way_round() -> None:
    """They are two claims."""
    tenant = Tenant()
    tenant(mode("m", "light"), T)
    tenant(pin("p", "freeze"), T)
    tenant(mode("off", "active"), T)
    assert (tenant.keys, tenant.state) == (["pin"], "freeze")
    tenant(mode("m2", "light"), T)
    tenant(mode("unpin", "active", override=True), T + 1)
    assert (tenant.keys, tenant.state) == (["mode"], "light")
    assert tenant.moves == [("freeze", "light", "pin", "pin", T + 1)]


def test_a_tenant_can_be_pinned_awake() -> None:
    """Mode `active` with override and a TTL, whatever its breakers say."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(pin("p", "active", MINUTE), T + 1)
    assert (tenant.state, tenant.keys) == ("active", ["payments@1", "pin"])
    tenant(timer(), T + 1 + MINUTE)
    assert tenant.moves == [("active", "freeze", "pin_ended", "pin", T + 1 + MINUTE)]


@pytest.mark.parametrize("reason", ["second", None])
@pytest.mark.parametrize("make", [mode, pin])
def test_a_renewed_mode_or_pin_keeps_since_and_takes_the_new_actor_and_reason(make: Make, reason: str | None) -> None:
    """An actor beside the reason of another actor would mislead, so a renewal without a reason leaves none."""
    tenant = Tenant()
    tenant(make("a", "deep", MINUTE, actor="anna", reason="first"), T)
    tenant(make("b", "deep", 2 * MINUTE, actor="bob", reason=reason), T + 1)
    (claim,) = tenant.known.claims.values()
    assert (claim.since, claim.expires_at) == (T, T + 1 + 2 * MINUTE)
    assert (claim.actor, claim.reason) == ("bob", reason)
    assert tenant.last.published, "readers see who keeps the tenant asleep, and why"


@pytest.mark.parametrize("make", [mode, pin])
def test_a_mode_or_pin_in_another_state_begins_anew(make: Make) -> None:
    """`since` is when its state last changed."""
    tenant = Tenant()
    tenant(make("a", "deep", MINUTE, reason="first"), T)
    tenant(make("b", "light", MINUTE, reason="second"), T + 2)
    (claim,) = tenant.known.claims.values()
    assert (claim.since, claim.reason) == (T + 2, "second")


@pytest.mark.parametrize("ttl_ms", [1, HOUR])
@pytest.mark.parametrize("make", [sleep, mode, pin])
def test_a_ttl_of_a_millisecond_and_of_the_maximum_are_taken(make: Make, ttl_ms: int) -> None:
    """The bounds belong to the range."""
    tenant = Tenant()
    tenant(make("op", "light", ttl_ms), T)
    assert tenant.codes == []
    assert tenant.document is not None
    assert tenant.document["next_deadline"] == T + ttl_ms


@pytest.mark.parametrize("ttl_ms", [0, -1, HOUR + 1, 10**300])
@pytest.mark.parametrize("make", [sleep, mode, pin])
def test_a_ttl_out_of_range_is_refused(make: Make, ttl_ms: int) -> None:
    """The answer says what the range is."""
    tenant = Tenant()
    tenant(make("op", "light", ttl_ms), T)
    assert tenant.codes == ["ttl_out_of_range"]
    assert answer_of(tenant).detail == "the TTL must be from 0.001 to 3600 seconds"
    assert tenant.record is None


@pytest.mark.parametrize(
    "event",
    [sleep("op", "deep", None), pin("op", "deep", None), mode("op", "active", MINUTE), mode("op", "active", 0)],
)
def test_a_ttl_that_is_missing_or_out_of_place_is_refused(event: Document) -> None:
    """An operation and a pin need one; mode active without override takes none."""
    tenant = Tenant()
    tenant(event, T)
    assert tenant.codes == ["ttl_out_of_range"]


def test_the_tenants_own_policy_bounds_its_ttls() -> None:
    """Else the rules' policy does."""
    tenant = Tenant(document={"policy": {"max_ttl_seconds": 60}})
    tenant(sleep("a", ttl_ms=MINUTE + 1), T)
    assert tenant.codes == ["ttl_out_of_range"]
    tenant(policy("p", {"max_ttl_seconds": 7200}), T)
    tenant(sleep("b", ttl_ms=2 * HOUR), T)
    assert tenant.codes == []


def test_a_tenant_has_at_most_32_live_operations() -> None:
    """One that ends makes room, by itself or by a cancel; the TTL is checked before the count."""
    tenant = Tenant()
    for number in range(32):
        tenant(sleep(f"op-{number}", ttl_ms=MINUTE + number), T)
    tenant(sleep("a"), T)
    assert tenant.codes == ["too_many_operations"]
    tenant(sleep("b", ttl_ms=0), T)
    assert tenant.codes == ["ttl_out_of_range"]
    tenant(cancel("stop", "op-31"), T)
    tenant(sleep("c"), T)
    assert tenant.codes == []
    tenant(sleep("d"), T)
    assert tenant.codes == ["too_many_operations"]
    tenant(sleep("e"), T + MINUTE)
    assert tenant.codes == []


def test_a_policy_is_filled_and_counted() -> None:
    """Absent fields take the built-in values; clearing it counts too."""
    tenant = Tenant()
    tenant(policy("a", {"floor": "light"}), T)
    assert tenant.document is not None
    assert tenant.document["policy"] == {
        "floor": "light", "ceiling": "freeze", "enforce": True, "min_sleep_seconds": 0, "max_ttl_seconds": 3600,
        "ramp_seconds": {"deepen": 0, "wake": 30},
        "breakers": [{"match": "*", "open": "freeze", "half_open": "light", "quorum": 1, "lease_seconds": 900}],
        "schedule": None,
    }  # fmt: skip
    assert (tenant.state, tenant.document["policy_version"]) == ("light", 1)
    tenant(policy("b", None), T + 1)
    assert tenant.moves == [("light", "active", "policy", "policy", T + 1)]
    assert (tenant.known.policy, tenant.known.policy_version) == (None, 2)
    tenant(policy("c", None), T + 2)
    assert tenant.known.policy_version == 3
    assert tenant.last.published


def test_a_policy_change_takes_effect_on_the_claims_at_once() -> None:
    """What a breaker's state means is mapped at each decision; its lease is left alone."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(policy("a", {"breakers": [{"match": "pay*", "open": "light", "lease_seconds": 1}]}), T + MINUTE)
    assert tenant.moves == [("freeze", "light", "policy", "policy", T + MINUTE)]
    assert tenant.claim("breaker", "payments@1")["expires_at"] == T + 900 * SECOND


@pytest.mark.parametrize(("version", "refused"), [(0, True), (1, False), (2, True), (-1, True), (1.0, False)])
def test_if_version_must_be_the_present_one(version: float, refused: bool) -> None:  # noqa: FBT001
    """Two editors do not overwrite each other."""
    tenant = Tenant()
    tenant(policy("a", {}), T)
    tenant(policy("b", {"floor": "light"}, if_version=version), T)
    assert tenant.codes == (["version_conflict"] if refused else [])


def test_a_tenant_without_a_record_has_policy_version_0() -> None:
    """So the first writer may say so."""
    tenant = Tenant()
    tenant(policy("a", {}, if_version=1), T)
    assert tenant.codes == ["version_conflict"]
    assert tenant.record is None
    tenant(policy("b", {}, if_version=0), T)
    assert tenant.known.policy_version == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"floor": "deep", "ceiling": "light"}, "floor deep is above ceiling light"),
        ({"schedule": {"active": {}}}, "schedule.light: required, but missing"),
        ({"max_ttl_seconds": 0}, "max_ttl_seconds: must be above 0"),
        ({"min_sleep_seconds": 0.0001}, "min_sleep_seconds: more than 3 decimals"),
        ({"breakers": [{"open": "deep"}]}, "breakers.0.match: required, but missing"),
        ({"enforce": None}, "enforce: must be true or false"),
        ({"enforce": 1}, "enforce: must be true or false"),
        ({"flor": "deep"}, "flor: unknown field; did you mean `floor`?"),
    ],
)
def test_an_invalid_policy_is_refused_and_the_answer_says_which_field_and_why(document: object, message: str) -> None:
    """The policy in force stays."""
    tenant = Tenant()
    tenant(policy("good", {"floor": "light"}), T)
    tenant(policy("bad", document), T + 1)
    assert tenant.codes == ["invalid_policy"]
    assert message in str(answer_of(tenant).detail)
    assert (tenant.state, tenant.known.policy_version) == ("light", 1)


def test_a_schedule_must_be_monotone() -> None:
    """Sleep moves a parameter one way only."""
    tenant = Tenant()
    one = {"K": 5, "t": 1, "tau": 1, "eta": 1, "lambda": 1, "B": 1}
    crooked = {"active": one, "light": {**one, "K": 9}, "deep": {**one, "K": 7}, "freeze": {**one, "K": 9}}
    tenant(policy("p", {"schedule": crooked}), T)
    assert tenant.codes == ["invalid_policy"]
    assert "K is not monotone" in str(answer_of(tenant).detail)


def test_version_conflict_goes_before_invalid_policy() -> None:
    """In the order of specification.md#commands."""
    tenant = Tenant()
    tenant(policy("p", {"floor": 3}, if_version=4), T)
    assert tenant.codes == ["version_conflict"]


@pytest.mark.parametrize(("not_after", "refused"), [(T - 1, True), (T, False), (T + 1, False), (None, False)])
def test_a_command_that_comes_too_late_is_refused(not_after: int | None, refused: bool) -> None:  # noqa: FBT001
    """So a caller who was told "unknown" is not surprised an hour later."""
    tenant = Tenant()
    tenant(sleep("op", not_after=not_after), T)
    assert tenant.codes == (["too_late"] if refused else [])


def test_too_late_is_judged_by_the_records_own_time() -> None:
    """The tenant's clock may be ahead of it: an earlier record set it."""
    tenant = Tenant()
    tenant(breaker("open"), T + MINUTE)
    tenant(sleep("op", not_after=T + 1), T)
    assert tenant.codes == []
    tenant(sleep("later", not_after=T + 1), T + 2)
    assert tenant.codes == ["too_late"]


def test_too_late_goes_before_the_commands_own_checks() -> None:
    """The id goes before both."""
    tenant = Tenant()
    tenant(sleep("op", ttl_ms=0, not_after=T - 1), T)
    assert tenant.codes == ["too_late"]
    tenant(sleep("op", ttl_ms=0, not_after=T - 2), T)
    assert tenant.codes == ["duplicate_operation"]
    tenant(sleep("op", ttl_ms=1, not_after=T - 2), T)
    assert tenant.codes == ["idempotency_conflict"]
