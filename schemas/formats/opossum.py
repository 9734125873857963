"""opossum: what `JSON.stringify(breaker)` returns, `{"state": {...}, "status": {...}}`.

Source: `toJSON` in `lib/circuit.js` of opossum 9.

- A disabled breaker lets all calls through. Its other flags keep what they were when it was disabled.
- A breaker that was shut down is neither closed, open nor half-open. It guards nothing any more, as a disabled one.
- `lastTimerAt` is the time at which the breaker was created, not that of a change. So a report has no time.
"""

from schemas.domain.state import BreakerState
from schemas.formats.parts import Part, document_of, wrong
from schemas.formats.report import Content, Report


def read(value: bytes | None) -> Content:
    """Return the state in a document.

    Raises:
        UndecodableError: if it is not that of a breaker.
    """
    root = document_of(value)
    state = root.part("state")
    return Content([Report(root, _state_of(state), breaker=state.found("name"))], {})


def _state_of(state: Part) -> BreakerState:
    flags: dict[BreakerState, bool] = {
        "closed": state.flag("closed"),
        "open": state.flag("open"),
        "half_open": state.flag("halfOpen"),
    }
    enabled, shut_down = state.flag("enabled"), state.flag("shutdown")
    true = [name for name, flag in flags.items() if flag]
    if len(true) != (0 if shut_down else 1):
        raise wrong(state.path, "exactly one of closed, open, halfOpen and shutdown must be true")
    return "disabled" if shut_down or not enabled else true[0]
