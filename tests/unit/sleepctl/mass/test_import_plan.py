"""What each row of the predecessor's table becomes."""

from collections.abc import Sequence

import pytest

from sleepctl.somabrain import plan as plan_module
from sleepctl.somabrain.plan import ImportPlan, Planned, Skipped, plan_of
from sleepctl.somabrain.table import COLUMNS, Broken, Row, Table
from sleepctl.ui.errors import CommandError
from sleepctl.ui.output import clock
from tests.support.times import MINUTE, NOW

SOON, BEFORE = clock(NOW + MINUTE), clock(NOW)
AFTER = clock(NOW + 1)


def _table(*rows: Sequence[str | None], columns: Sequence[str] = COLUMNS) -> Table:
    """A table of rows, given in the order of the columns; what is missing at the end is NULL."""
    texts = [dict(zip(columns, [*row, *[None] * len(columns)], strict=False)) for row in rows]
    return Table("states.csv", "line", [Row(number, row) for number, row in enumerate(texts, 2)], [])


def _plan(*rows: Sequence[str | None], columns: Sequence[str] = COLUMNS) -> ImportPlan:
    return plan_of(_table(*rows, columns=columns), NOW)


@pytest.mark.parametrize(
    ("row", "becomes"),
    [
        (("acme", "active"), Skipped(2, "acme", plan_module.AWAKE)),
        (("acme", "active", "deep", SOON), Skipped(2, "acme", plan_module.AWAKE)),
        (("acme", "active", None, None, None, "open"), Skipped(2, "acme", plan_module.AWAKE)),
        (("acme", "freeze", None, BEFORE), Skipped(2, "acme", plan_module.PAST)),
        (("acme", "freeze", None, BEFORE, SOON, "open"), Skipped(2, "acme", plan_module.PAST)),
        (("acme", "freeze", None, None, BEFORE), Skipped(2, "acme", plan_module.PAST)),
        (("acme", "DEEP", "Light", SOON), Planned(2, "acme", "deep", NOW + MINUTE, plan_module.BY_TTL)),
        (("acme", "light", None, SOON, BEFORE), Planned(2, "acme", "light", NOW + MINUTE, plan_module.BY_TTL)),
        (("acme", "light", None, None, SOON), Planned(2, "acme", "light", NOW + MINUTE, plan_module.BY_SCHEDULED_WAKE)),
        (("acme", "deep", None, None, None, "closed"), Planned(2, "acme", "deep", None, plan_module.OPEN_ENDED)),
        (
            ("acme", "freeze", None, None, None, "OPEN"),
            Planned(2, "acme", "freeze", NOW + 15 * MINUTE, plan_module.BY_BREAKER),
        ),
        (
            ("acme", "freeze", None, None, None, "closed"),
            Planned(2, "acme", "freeze", NOW + 15 * MINUTE, plan_module.BY_BREAKER),
        ),
        (
            ("acme", "light", None, None, None, "half-open"),
            Planned(2, "acme", "light", NOW + 15 * MINUTE, plan_module.BY_BREAKER),
        ),
        (("acme", "freeze", None, SOON, None, "open"), Planned(2, "acme", "freeze", NOW + MINUTE, plan_module.BY_TTL)),
    ],
)
def test_a_row_becomes_a_mode_or_nothing(row: Sequence[str | None], becomes: Planned | Skipped) -> None:
    """Its state counts, then its end; a breaker matters only where there is no end."""
    plan = _plan(row)
    assert [*plan.planned, *plan.skipped] == [becomes]
    assert plan.broken == []


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ((None, "deep"), "tenant_id", "it is empty"),
        (("a tenant", "deep"), "tenant_id", "'a tenant' is no tenant id"),
        (("x" * 129, "deep"), "tenant_id", "is no tenant id: it must be 1 to 128"),
        (("acme", None), "current_state", "it is empty"),
        (("acme", "asleep"), "current_state", "'asleep' is none of active, light, deep, freeze"),
        (("acme", "deep", "no"), "target_state", "'no' is none of active"),
        (("acme", "deep", None, "tomorrow"), "ttl", "'tomorrow' is no time such as"),
        (("acme", "deep", None, "2026-13-01 00:00:00"), "ttl", "is no time"),
        (("acme", "active", None, "infinity"), "ttl", "'infinity' is no time"),
        (("acme", "deep", None, "9999-12-31 00:00:00"), "ttl", "is more than 30 days away"),
        (("acme", "deep", None, None, "9999-12-31 00:00:00"), "scheduled_wake", "is more than 30 days away"),
        (("acme", "deep", None, None, "x"), "scheduled_wake", "'x' is no time"),
        (("acme", "deep", None, None, None, "ajar"), "circuit_breaker_state", "'ajar' is none of closed, open"),
    ],
)
def test_a_wrong_row_is_named_with_its_field(row: Sequence[str | None], field: str, problem: str) -> None:
    """And the row beside it is planned."""
    plan = _plan(row, ("globex", "deep"))
    assert [each.tenant for each in plan.planned] == ["globex"]
    [broken] = plan.broken
    assert (broken.number, broken.tenant, broken.field) == (2, row[0], field)
    assert problem in broken.problem


def test_no_row_of_a_tenant_that_comes_twice_is_imported() -> None:
    """Nobody knows which is the present one."""
    plan = _plan(("acme", "deep"), ("globex", "light"), ("acme", "active"))
    assert [each.tenant for each in plan.planned] == ["globex"]
    assert plan.broken == [
        Broken(2, "acme", "tenant_id", "it is also on line 4"),
        Broken(4, "acme", "tenant_id", "it is also on line 2"),
    ]
    assert plan.rows == 3


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-30 09:00:00",
        "2026-11-30T09:00:00.000",
        "2026-11-30 09:00:00+00",
        "2026-11-30T09:00:00Z",
        "2026-11-30 10:00:00+01:00",
        "2026-11-30 14:30:00 +0530",
        "2026-11-30 03:30:00.0-05:30",
    ],
)
def test_a_time_without_a_zone_is_in_utc(text: str) -> None:
    """With one it is what it says, in each spelling of PostgreSQL and of ISO 8601."""
    wake_at = 1_796_029_200_000
    plan = plan_of(
        Table("x", "row", [Row(1, {"tenant_id": "acme", "current_state": "deep", "ttl": text})], []), wake_at - 1
    )
    assert [each.wake_at for each in plan.planned] == [wake_at]


def test_the_columns_of_an_older_table_are_enough() -> None:
    """One release has neither breakers nor parameters."""
    plan = _plan(("acme", "deep", None), columns=("tenant_id", "current_state", "ttl"))
    assert [each.why for each in plan.planned] == [plan_module.OPEN_ENDED]


@pytest.mark.parametrize(
    ("row", "becomes"),
    [
        (("acme", "deep", None, SOON, None, None, BEFORE), Skipped(2, "acme", plan_module.UNCHANGED)),
        (("acme", "deep", None, None, None, None, BEFORE), Skipped(2, "acme", plan_module.UNCHANGED)),
        (("acme", "freeze", None, None, None, "open", BEFORE), Skipped(2, "acme", plan_module.UNCHANGED)),
        (("acme", "active", None, None, None, None, AFTER), Skipped(2, "acme", plan_module.AWAKE)),
        (("acme", "deep", None, BEFORE, None, None, AFTER), Skipped(2, "acme", plan_module.PAST)),
        (("acme", "freeze", None, None, None, "closed", AFTER), Skipped(2, "acme", plan_module.LEFT_TO_EMITTERS)),
        (("acme", "light", None, None, None, "open", AFTER), Skipped(2, "acme", plan_module.LEFT_TO_EMITTERS)),
        (
            ("acme", "freeze", None, SOON, None, "closed", AFTER),
            Planned(2, "acme", "freeze", NOW + MINUTE, plan_module.BY_TTL),
        ),
        (("acme", "deep", None, None, None, None, AFTER), Planned(2, "acme", "deep", None, plan_module.OPEN_ENDED)),
    ],
)
def test_a_second_import_takes_only_what_changed_and_has_an_end_or_an_author(
    row: Sequence[str | None], becomes: Planned | Skipped
) -> None:
    """A tenant that was woken here since the first import stays awake, and emitters report breakers by then."""
    plan = plan_of(_table(row), NOW, changed_after=NOW)
    assert [*plan.planned, *plan.skipped] == [becomes]
    assert plan.broken == []


@pytest.mark.parametrize(("text", "problem"), [(None, "it is empty"), ("never", "'never' is no time such as")])
def test_a_row_that_may_have_changed_is_wrong_in_a_second_import(text: str | None, problem: str) -> None:
    """In the first import, nobody asks when it was written."""
    row = ("acme", "deep", None, SOON, None, None, text)
    [broken] = plan_of(_table(row), NOW, changed_after=NOW).broken
    assert (broken.tenant, broken.field) == ("acme", "updated_at")
    assert problem in broken.problem
    assert [each.tenant for each in _plan(row).planned] == ["acme"]


def test_a_second_import_needs_the_time_of_each_row() -> None:
    """A table without the column is refused as a whole."""
    table = _table(("acme", "deep", None), columns=("tenant_id", "current_state", "ttl"))
    with pytest.raises(CommandError, match=r"states\.csv: --changed-after needs the column updated_at"):
        plan_of(table, NOW, changed_after=NOW)


def test_the_document_has_every_row_and_counts() -> None:
    """For `--json`."""
    document = _plan(("acme", "deep"), ("globex", "deep"), ("initech", "active"), ("x y", "deep")).document()
    assert document["rows"] == 4
    assert document["reasons"] == [
        {"becomes": "mode deep", "why": plan_module.OPEN_ENDED, "rows": 2},
        {"becomes": "nothing", "why": plan_module.AWAKE, "rows": 1},
    ]
    assert [len(document[name]) for name in ("planned", "skipped", "broken")] == [2, 1, 1]
