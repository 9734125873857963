"""What each row of the predecessor's table becomes, and why. Pure."""

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from schemas.domain.state import BY_LABEL, SleepState
from sleepctl.mass.targets import tenant_flaw
from sleepctl.somabrain.table import UPDATED_AT, Broken, Row, Table
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

BREAKER_SECONDS: Final = 900
"""How long a tenant sleeps that a breaker put to sleep, or may have, if its row has no end: a breaker's usual lease."""
MOST_SECONDS: Final = 2_592_000
"""No TTL is longer."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|[+-]\d\d(:?\d\d(:?\d\d)?)?))?")
_TRIPPED: Final = {"closed": False, "open": True, "half_open": True}

AWAKE: Final = "it is active: nothing to do"
PAST: Final = "its end has passed: the old poller would wake it"
BY_TTL: Final = "it sleeps until its ttl"
BY_SCHEDULED_WAKE: Final = "it has no ttl: it sleeps until its scheduled_wake"
BY_BREAKER: Final = (
    "a breaker may have frozen it, and it has no end: it sleeps for a lease, in which emitters must report"
)
OPEN_ENDED: Final = "it has no end: it sleeps until somebody wakes it"
UNCHANGED: Final = "its updated_at is not later than --changed-after"
LEFT_TO_EMITTERS: Final = "--changed-after: a breaker may have frozen it, and it has no end; emitters report breakers"


class Planned(NamedTuple):
    """A tenant that gets a mode.

    Attributes:
        number: of its row.
        wake_at: when the mode ends, in milliseconds since the epoch; None for a mode without an end.
        why: one of the reasons above.
    """

    number: int
    tenant: str
    state: str
    wake_at: int | None
    why: str


class Skipped(NamedTuple):
    """A tenant for which there is nothing to do."""

    number: int
    tenant: str
    why: str


class ImportPlan(NamedTuple):
    """What a table becomes."""

    source: str
    place: str
    planned: list[Planned]
    skipped: list[Skipped]
    broken: list[Broken]

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return len(self.planned) + len(self.skipped) + len(self.broken)

    def reasons(self) -> Counter[tuple[str, str]]:
        """Count the rows by what they become and why."""
        planned = Counter((f"mode {each.state}", each.why) for each in self.planned)
        return planned + Counter(("nothing", each.why) for each in self.skipped)

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON, with every row."""
        return {
            "source": self.source,
            "rows": self.rows,
            "planned": [each._asdict() for each in self.planned],
            "skipped": [each._asdict() for each in self.skipped],
            "broken": [each._asdict() for each in self.broken],
            "reasons": [{"becomes": what, "why": why, "rows": count} for (what, why), count in self.reasons().items()],
        }


class _WrongFieldError(CommandError):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def plan_of(
    table: Table, now: int, breaker_seconds: float = BREAKER_SECONDS, changed_after: int | None = None
) -> ImportPlan:
    """Return what each row of a table becomes.

    Args:
        table: the table.
        now: the time in milliseconds since the epoch.
        breaker_seconds: how long a tenant sleeps that a breaker may have put to sleep, if its row has no end.
        changed_after: leaves out the rows that were written until then, in milliseconds since the epoch, and those
            that a breaker may have written without an end. None for all rows.

    Raises:
        CommandError: if the rows do not say when they were written, and that matters; exit status 2.
    """
    if changed_after is not None and any(UPDATED_AT not in row.values for row in table.rows):
        raise CommandError(
            f"{table.source}: --changed-after needs the column {UPDATED_AT}, and nothing was sent", WRONG_SETTINGS
        )
    plan = ImportPlan(table.source, table.place, [], [], list(table.broken))
    numbers: dict[str | None, list[int]] = {}
    for row in table.rows:
        numbers.setdefault(row.values["tenant_id"], []).append(row.number)
    for row in table.rows:
        tenant = row.values["tenant_id"]
        try:
            others = [number for number in numbers[tenant] if number != row.number]
            judged = _judge(row, table.place, others, now, breaker_seconds, changed_after)
        except _WrongFieldError as error:
            plan.broken.append(Broken(row.number, tenant, error.field, str(error)))
            continue
        if isinstance(judged, Planned):
            plan.planned.append(judged)
        else:
            plan.skipped.append(judged)
    plan.broken.sort(key=lambda broken: broken.number)
    return plan


def _judge(
    row: Row, place: str, others: list[int], now: int, breaker_seconds: float, changed_after: int | None
) -> Planned | Skipped:
    """Return what a row becomes.

    Raises:
        _WrongFieldError: if a field is wrong.
    """
    number, values = row
    tenant = values["tenant_id"]
    if tenant is None:
        raise _WrongFieldError("tenant_id", "it is empty")
    if (flaw := tenant_flaw(tenant)) is not None:
        raise _WrongFieldError("tenant_id", flaw)
    if others:
        # Nobody knows which of them is the present one.
        raise _WrongFieldError("tenant_id", f"it is also on {place} {', '.join(map(str, others[:5]))}")
    state = _named("current_state", values, BY_LABEL)
    if values.get("target_state") is not None:
        _named("target_state", values, BY_LABEL)
    tripped = values.get("circuit_breaker_state") is not None and _named("circuit_breaker_state", values, _TRIPPED)
    ttl, scheduled_wake = (_time(name, values) for name in ("ttl", "scheduled_wake"))
    if state is SleepState.active:
        return Skipped(number, tenant, AWAKE)
    if changed_after is not None and _updated_at(values) <= changed_after:
        return Skipped(number, tenant, UNCHANGED)
    wake_at = scheduled_wake if ttl is None else ttl
    if wake_at is None:
        # The old memory service freezes a tenant after a failure, without an end, and writes no breaker's state.
        by_breaker = tripped or state is SleepState.freeze
        if by_breaker and changed_after is not None:
            return Skipped(number, tenant, LEFT_TO_EMITTERS)
        wake_at = now + round(breaker_seconds * 1000) if by_breaker else None
        return Planned(number, tenant, state.label, wake_at, BY_BREAKER if by_breaker else OPEN_ENDED)
    if wake_at <= now:
        return Skipped(number, tenant, PAST)
    if wake_at > now + MOST_SECONDS * 1000:
        field = "scheduled_wake" if ttl is None else "ttl"
        raise _WrongFieldError(field, f"{values[field]!r} is more than 30 days away, and no sleep lasts longer")
    return Planned(number, tenant, state.label, wake_at, BY_SCHEDULED_WAKE if ttl is None else BY_TTL)


def _updated_at(values: Any) -> int:  # noqa: ANN401 - a mapping of texts
    """Return when a row was written, in milliseconds since the epoch.

    Raises:
        _WrongFieldError: if the row does not say it.
    """
    updated_at = _time(UPDATED_AT, values)
    if updated_at is None:
        raise _WrongFieldError(UPDATED_AT, "it is empty")
    return updated_at


def _named(field: str, values: Any, known: Any) -> Any:  # noqa: ANN401 - mappings of texts
    """Return the value of a name without regard to case.

    Raises:
        _WrongFieldError: if nobody knows the name.
    """
    text = values[field]
    name = (text or "").strip().lower().replace("-", "_")
    if name not in known:
        raise _WrongFieldError(field, f"{text!r} is none of {', '.join(known)}" if text else "it is empty")
    return known[name]


def _time(field: str, values: Any) -> int | None:  # noqa: ANN401 - as above
    """Return a time in milliseconds since the epoch, None for NULL. A time without a zone is in UTC.

    Raises:
        _WrongFieldError: if the text is no time.
    """
    text = values.get(field)
    if text is None:
        return None
    problem = f"{text!r} is no time such as 2026-11-30 09:00:00 or 2026-11-30T09:00:00+01:00"
    if _TIME.fullmatch(text.strip()) is None:
        raise _WrongFieldError(field, problem)
    try:
        time = datetime.fromisoformat(text.strip().replace(" +", "+").replace(" -", "-"))
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return round(time.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise _WrongFieldError(field, problem) from None
