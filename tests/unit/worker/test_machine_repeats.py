"""Remembered commands: when an id that comes again is the same command, another one, or forgotten."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.events import Document, breaker, cancel, mode, pin, policy, sleep, timer
from tests.support.times import DAY, HOUR, MINUTE, SECOND, T
from tests.unit.worker.compared_tenant import Tenant

FILLED = {"floor": "light", "max_ttl_seconds": 3600, "ramp_seconds": {"deepen": 0, "wake": 30.0}}


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (sleep("id", "deep", 5), sleep("id", "deep", 5)),
        (sleep("id", "deep", 5), sleep("id", "deep", 5.0)),
        (
            sleep("id", "deep", 5),
            sleep("id", "deep", 5, reason="r", trace_id="t", actor="a", reply_to="x", not_after=0),
        ),
        (mode("id", "deep"), mode("id", "deep", None, override=False)),
        (mode("id", "deep"), mode("id", "deep", override=None)),
        (cancel("id", "op"), cancel("id", "op")),
        (policy("id", {"floor": "light"}), policy("id", FILLED)),
        (policy("id", {"breakers": []}), policy("id", {"breakers": [], "schedule": None})),
        (policy("id", None), policy("id", None)),
        (policy("id", {"floor": 1}), policy("id", {"floor": 1.0})),
        (policy("id", {"a": [1, {"b": 2, "c": 3}], "d": 0}), policy("id", {"d": 0, "a": [1.0, {"c": 3, "b": 2}]})),
        (policy("id", {}, if_version=0), policy("id", {}, if_version=0.0)),
    ],
)
def test_the_same_id_and_decision_is_answered_with_the_first_outcome(first: Document, again: Document) -> None:
    """Numbers compare by value, valid policies after filling; who asked, why and until when does not count.

    The texts of the first are in the answer while it lives.
    """
    tenant = Tenant()
    tenant(first, T)
    answer, before = tenant.last.answer, tenant.known if tenant.record else None
    tenant(again, T + 1)
    assert tenant.codes == ["duplicate_operation"]
    assert answer is not None
    lives = answer.lives_in({} if before is None else before.claims)
    assert tenant.last.answer == (answer if lives else answer.without_texts())
    assert tenant.last.operations == ()
    assert tenant.record == (None if before is None else replace(before, clock=T + 1))


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (sleep("id", "deep", 5), sleep("id", "light", 5)),
        (sleep("id", "deep", 5), sleep("id", "deep", 6)),
        (sleep("id", "deep", 5), sleep("id", "deep", None)),
        (sleep("id", "deep", 5), mode("id", "deep", 5)),
        (mode("id", "deep", 5), pin("id", "deep", 5)),
        (cancel("id", "op"), cancel("id", "op-2")),
        (policy("id", {}), policy("id", None)),
        (policy("id", {}), policy("id", {"floor": "light"})),
        (policy("id", {}), policy("id", {}, if_version=0)),
        (policy("id", {"floor": 1}), policy("id", {"floor": True})),
        (policy("id", {"floor": {}}), policy("id", {"floor": []})),
        (policy("id", {"floor": {"a": 1}}), policy("id", {"floor": [["a", 1]]})),
        (policy("id", {"floor": "light"}), policy("id", {"floor": "light", "flor": 1})),
    ],
)
def test_the_same_id_with_another_decision_is_a_conflict(first: Document, again: Document) -> None:
    """It is answered with a refusal of its own, and the first stays what is remembered."""
    tenant = Tenant()
    tenant(first, T)
    remembered = dict(tenant.operations)
    tenant(again, T + 1)
    assert tenant.codes == ["idempotency_conflict"]
    assert tenant.operations == remembered
    answer = tenant.last.answer
    assert answer is not None
    assert (answer.code, answer.status(T), answer.created_at) == ("idempotency_conflict", "refused", T + 1)
    assert "0:42" in str(answer.detail), "it says where the id was used"
    tenant(first, T + 2)
    assert tenant.codes == ["duplicate_operation"]


@pytest.mark.parametrize(("passed", "known"), [(HOUR - 1, True), (HOUR, False)])
@pytest.mark.parametrize(
    ("event", "finished"),
    [
        (mode("id", "deep", 5), 0),
        (policy("id", {}), 0),
        (sleep("id", "deep", MINUTE), MINUTE),
        (sleep("id", "deep", 0), 0),
        (cancel("id", "nothing"), 0),
        (policy("id", {"floor": 1}), 0),
        (sleep("id", "deep", MINUTE, not_after=T - 1), 0),
    ],
)
def test_a_command_is_remembered_for_an_hour_after_it_finished(
    event: Document,
    finished: int,
    passed: int,
    known: bool,  # noqa: FBT001
) -> None:
    """A refused one too, an operation from its end on, and also where its tenant has no record."""
    tenant = Tenant()
    tenant(event, T)
    tenant(event, T + finished + passed)
    assert ("duplicate_operation" in tenant.codes) is known


def test_a_cancelled_operation_is_remembered_from_its_cancel_on() -> None:
    """That is when it finished."""
    tenant = Tenant()
    tenant(sleep("op", ttl_ms=HOUR), T)
    tenant(cancel("stop", "op"), T + SECOND)
    tenant(sleep("op", ttl_ms=HOUR), T + SECOND + HOUR - 1)
    assert tenant.codes == ["duplicate_operation"]
    assert tenant.last.answer is not None
    assert tenant.last.answer.status(T + SECOND) == "cancelled"
    tenant(sleep("op", ttl_ms=HOUR), T + SECOND + HOUR)
    assert tenant.codes == []
    assert tenant.keys == ["op"]


def test_an_id_that_was_forgotten_is_a_new_command() -> None:
    """It is remembered anew."""
    tenant = Tenant()
    tenant(mode("id", "deep"), T)
    tenant(mode("id", "light"), T + HOUR)
    assert tenant.state == "light"
    tenant(mode("id", "light"), T + 2 * HOUR - 1)
    assert tenant.codes == ["duplicate_operation"]


def test_a_repeat_is_judged_by_the_tenants_clock() -> None:
    """Where a log's time went backwards, the id stays forgotten."""
    tenant = Tenant()
    tenant(mode("id", "deep"), T)
    tenant(breaker("closed"), T + HOUR)
    tenant(mode("id", "deep"), T)
    assert tenant.codes == []


def test_another_tenants_id_is_another_command() -> None:
    """Ids are unique within a tenant; the store's key names both."""
    acme, bolt = Tenant("acme"), Tenant("bolt")
    acme(sleep("id"), T)
    bolt(sleep("id", tenant="bolt"), T)
    assert bolt.codes == []
    assert bolt.keys == ["id"]


def test_a_repeat_still_settles_what_fell_due() -> None:
    """Its row comes after."""
    tenant = Tenant()
    tenant(sleep("op", ttl_ms=SECOND), T)
    tenant(sleep("op", ttl_ms=SECOND), T + MINUTE)
    assert tenant.moves == [("deep", "active", "expired", "op", T + SECOND)]
    assert [row.kind for row in tenant.last.rows] == ["transition", "refusal"]
    assert tenant.last.published


def test_a_repeat_after_its_tenant_retired_is_still_known() -> None:
    """So it is judged the same way in every replay."""
    tenant = Tenant(document={"retire_after_seconds": 60})
    tenant(sleep("op", ttl_ms=SECOND), T)
    tenant(timer(), T + SECOND)
    tenant(timer(), T + 2 * MINUTE)
    assert tenant.record is None
    tenant(sleep("op", ttl_ms=SECOND), T + 3 * MINUTE)
    assert tenant.codes == ["duplicate_operation"]
    assert tenant.record is None


@pytest.mark.parametrize("depth", [1, 20, 95])
def test_policies_nested_in_any_way_are_compared(depth: int) -> None:
    """An invalid one is compared as it was sent."""
    nested: Any = 1
    for _ in range(depth):
        nested = {"a": [nested]}
    tenant = Tenant()
    tenant(policy("id", nested), T)
    assert tenant.codes == ["invalid_policy"]
    tenant(policy("id", nested), T + DAY // 48)
    assert tenant.codes == ["duplicate_operation"]
    tenant(policy("id", {"a": [nested]}), T + DAY // 48)
    assert tenant.codes == ["idempotency_conflict"]
