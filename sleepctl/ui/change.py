"""What `sleepctl watch` prints: a change in a line, and whether what is shown is live."""

from schemas.errors import printable
from sleepctl.ui.output import clock, kind_and_key
from sleepctl.ui.watched import Change


def line(change: Change) -> str:
    """Return a change: time, tenant, states, cause, and what will happen next."""
    present = change.present
    at = "now" if present.since is None else clock(present.since)
    states = present.state if change.before in (None, present.state) else f"{change.before} → {present.state}"
    text = f"{at:<24}  {change.tenant}  {states}"
    if present.decided != present.state:
        text += f"  (dry run: decided {present.decided})"
    if present.cause is not None:
        text += f"  {printable(kind_and_key(present.cause['kind'], present.cause['key']))}"
    if change.kind == "forecast":
        text += "  as was forecast"
    if change.following is not None:
        text += f"  → {change.following['state']} at {clock(change.following['at'])}"
    return text


def live(asleep: int) -> str:
    """Return the line after which everything is known as it is now."""
    return f"-- live: {'1 tenant sleeps' if asleep == 1 else f'{asleep} tenants sleep'} of those that are watched"


def not_live(reason: str, seconds: float) -> str:
    """Return the line after which nothing is live until the next `live`."""
    return f"-- not live: {printable(reason)}; trying again in {seconds:.1f} s"
