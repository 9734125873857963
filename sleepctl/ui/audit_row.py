"""A row of the audit in one line. Its texts are escaped, since callers wrote them."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.errors import printable
from sleepctl.ui.output import clock, kind_and_key

_EVENTS: Final = {
    "sleep.breaker.v1": "breaker event",
    "sleep.operation.v1": "sleep",
    "sleep.cancel.v1": "cancel",
    "sleep.mode.v1": "mode",
    "sleep.policy.v1": "policy",
    "sleep.rules.v1": "rules",
    "sleep.timer.v1": "timer",
}


def line(row: Mapping[str, Any]) -> str:
    """Return a row: time, tenant, what happened, why, and by whom."""
    event = _EVENTS.get(row["event_type"], printable(row["event_type"]))
    match row["kind"]:
        case "transition":
            cause = row["cause"] or {"kind": event, "key": None}
            dry = "" if row["enforced"] else "  (dry run)"
            what = f"{row['from']} → {row['to']}{dry}  {printable(kind_and_key(cause['kind'], cause['key']))}"
        case "refusal":
            what = f"refused {row['code']}  {event}"
        case "outcome":
            what = f"done  {event}, decided {row['to']}"
        case other:
            what = f"{printable(str(other))}  {event}"
    if row["actor"] is not None:
        what += f", by {printable(row['actor'])}"
    if row["reason"] is not None:
        what += f": {printable(row['reason'])}"
    return f"{clock(row['at'])}  {row['tenant']}  {what}"
