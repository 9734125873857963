"""What the rows of the predecessor's table become."""

from typing import Final

from sleepctl.somabrain.plan import ImportPlan
from sleepctl.ui.output import clock, console

_ROWS_SHOWN: Final = 5
_BROKEN_SHOWN: Final = 50


def print_import(plan: ImportPlan, *, stderr: bool) -> None:
    """Print a plan: how many rows become what, the first tenants of each kind, and all that is wrong."""
    out = console(stderr=stderr)
    out.print(
        f"{plan.source}: {plan.rows:,} rows: {len(plan.planned):,} become a command, {len(plan.skipped):,} need none, "
        f"{len(plan.broken):,} are wrong"
    )
    for (becomes, why), count in sorted(plan.reasons().items()):
        out.print(f"  {count:>9,}  {becomes:<12} {why}")
        rows = [each for each in plan.planned if (f"mode {each.state}", each.why) == (becomes, why)]
        for each in rows[:_ROWS_SHOWN]:
            until = "without an end" if each.wake_at is None else f"until {clock(each.wake_at)}"
            out.print(f"             {plan.place} {each.number}: {each.tenant} {until}")
        if len(rows) > _ROWS_SHOWN:
            out.print(f"             and {len(rows) - _ROWS_SHOWN:,} more; --dry-run --json shows them all")
    for broken in plan.broken[:_BROKEN_SHOWN]:
        who = "" if broken.tenant is None else f" (tenant {broken.tenant!r})"
        out.print(f"  {plan.place} {broken.number}, {broken.field}{who}: {broken.problem}")
    if len(plan.broken) > _BROKEN_SHOWN:
        out.print(f"  and {len(plan.broken) - _BROKEN_SHOWN:,} more; --dry-run --json shows them all")
