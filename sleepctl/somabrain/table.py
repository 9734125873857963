"""The predecessor's table as it was read: rows of texts, and lines that are no rows."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

UPDATED_AT: Final = "updated_at"
"""When a row was written. It counts for a second import."""
COLUMNS: Final = (
    "tenant_id", "current_state", "target_state", "ttl", "scheduled_wake", "circuit_breaker_state", UPDATED_AT,
)  # fmt: skip
"""The columns that count. The others are not read: `docs/how-to/migrate-from-somabrain.md` says why."""
REQUIRED: Final = ("tenant_id", "current_state", "ttl")
"""The columns that every release of the predecessor has, and without which a row says nothing."""


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        number: of its line in the file, or of the row in the order of tenants.
        values: its texts by column; None for NULL.
    """

    number: int
    values: Mapping[str, str | None]


class Broken(NamedTuple):
    """A row that cannot be imported, with the field that is wrong."""

    number: int
    tenant: str | None
    field: str
    problem: str


class Table(NamedTuple):
    """The table.

    Attributes:
        source: where it was read, without a secret.
        place: what the number of a row counts.
        rows: in the order of their numbers.
        broken: lines that are no rows.
    """

    source: str
    place: Literal["line", "row"]
    rows: list[Row]
    broken: list[Broken]


def require_columns(source: str, names: list[str]) -> None:
    """Check the names of the columns.

    Raises:
        CommandError: naming those that are missing, or come twice; exit status 2.
    """
    if missing := [name for name in REQUIRED if name not in names]:
        raise CommandError(
            f"{source}: it has no column {', '.join(missing)}, and nothing was sent. Needed are {', '.join(REQUIRED)}; "
            f"its columns are {', '.join(map(repr, names)) or 'none'}",
            WRONG_SETTINGS,
        )
    if twice := sorted({name for name in COLUMNS if names.count(name) > 1}):
        raise CommandError(f"{source}: the column {', '.join(twice)} comes twice; nothing was sent", WRONG_SETTINGS)
