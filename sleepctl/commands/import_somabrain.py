"""`sleepctl import-somabrain`: puts the tenants to sleep that sleep in the predecessor's table."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer

from schemas.clock import now_ms
from sleepctl.io.requests import HERE, Token, Url
from sleepctl.io.tenant_pages import Calls
from sleepctl.io.times import time_in
from sleepctl.mass.options import USUAL_RATE, DryRun, Rate, Run, Yes
from sleepctl.mass.session import Door, Work, carry_out
from sleepctl.mass.targets import Selection, Target
from sleepctl.somabrain.command import ImportRow
from sleepctl.somabrain.csv_file import table_in_csv
from sleepctl.somabrain.plan import BREAKER_SECONDS, MOST_SECONDS, ImportPlan, plan_of
from sleepctl.somabrain.postgres import TABLE, source_of_dsn, table_in_postgres
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError
from sleepctl.ui.imported import print_import
from sleepctl.ui.output import Json, print_json

_OLDEST_MS: Final = 1_577_836_800_000
"""2020: no row is older. A number below it is in seconds, and would leave out no row."""


class _NothingToDoError(CommandError):
    """No row becomes a command; `broken` of them are wrong."""

    def __init__(self, broken: int) -> None:
        super().__init__("no row becomes a command; nothing was sent")
        self.broken = broken


def import_somabrain(  # noqa: PLR0913 - as the commands to many tenants
    *,
    file: Annotated[Path | None, typer.Argument(help="The table as CSV, in UTF-8 and with a header.")] = None,
    dsn: Annotated[
        str | None,
        typer.Option(
            help="Read the table from PostgreSQL: a URL or key=value pairs. PGPASSWORD or a password file keeps the "
            "password out of the process list.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[str, typer.Option(help="With --dsn: the table's name, with or without a schema.")] = TABLE,
    breaker_seconds: Annotated[
        float,
        typer.Option(
            help="How long a tenant sleeps that a breaker may have frozen, if its row has no end.",
            min=1,
            max=MOST_SECONDS,
        ),
    ] = BREAKER_SECONDS,
    changed_after: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="For a second import: leave out rows whose updated_at is not later, and rows without an end that a "
            "breaker may have frozen. Such as 2026-11-30T09:00:00Z, or milliseconds.",
            show_default=False,
        ),
    ] = None,
    run: Run = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    rate: Rate = USUAL_RATE,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Import the sleeping tenants of the predecessor.

    They are in its table `tenant_sleep_states`. Each sleeping row becomes a mode, until the row's end. Active rows and
    rows whose end has passed need nothing. Rows that are wrong are named with their line and field, and the others are
    imported. --dry-run shows what each row becomes, and needs no API. The table is only read.

    An import sets each mode again, also that of a tenant which was woken since. So give --changed-after with the time
    of the first import, when you import again.
    """
    if (file is None) == (dsn is None):
        raise CommandError("give either a FILE or --dsn", WRONG_SETTINGS)

    since = None if changed_after is None else _time_of_import(changed_after)

    def planned() -> ImportPlan:
        read = table_in_csv(file) if file is not None else table_in_postgres(dsn or "", table)
        return plan_of(read, now_ms(), breaker_seconds, since)

    if dry_run:
        plan = planned()
        if json:
            print_json(plan.document())
        else:
            print_import(plan, stderr=False)
        _require_none_broken(len(plan.broken), "the others would be imported")
        return

    async def select(_: Calls) -> Selection:
        plan = planned()
        print_import(plan, stderr=True)
        if not plan.planned:
            raise _NothingToDoError(len(plan.broken))
        return Selection(
            [Target(each.tenant, [each.state, each.wake_at]) for each in plan.planned], Counter(), len(plan.broken)
        )

    source = str(file) if file is not None else source_of_dsn(dsn or "", table)
    document = {"command": "import-somabrain", "source": source, "breaker_seconds": breaker_seconds}
    if changed_after is not None:
        document["changed_after"] = changed_after
    work = Work("import-somabrain", f"import from {source}", document, ImportRow(), select)
    try:
        broken = carry_out(Door(url, token, rate, json), work, run, yes=yes, dry_run=False)
    except _NothingToDoError as error:
        typer.echo(str(error), err=True)
        broken = error.broken
    _require_none_broken(broken, "the others were imported")


def _time_of_import(text: str) -> int:
    at = time_in(text, "--changed-after", now_ms())
    if at < _OLDEST_MS:
        raise CommandError(
            f"--changed-after {text!r} is before 2020, and would leave out no row; give ISO 8601 or milliseconds",
            WRONG_SETTINGS,
        )
    return at


def _require_none_broken(broken: int, others: str) -> None:
    if broken:
        raise CommandError(
            f"{broken} rows are wrong and are not imported; {others}. Mend these rows, and import "
            "them as another run: in a file of their own, or with --changed-after and the time of the first import"
        )
