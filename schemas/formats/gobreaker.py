"""gobreaker: the shared state that a `DistributedCircuitBreaker` writes to its store.

Source: `SharedState` and `State` of sony/gobreaker v2.4. The store's key is `gobreaker:state:` and the breaker's name.
The document does not have the name.

- `state` is a number: 0 is closed, 1 is half-open, 2 is open.
- The breaker writes its state at each call. So most documents repeat the last one.
- `start` and `expiry` are not times of changes, and `expiry` may be year 1. So a report has no time.
"""

from typing import Final

from schemas.domain.state import BreakerState
from schemas.formats.parts import document_of, wrong
from schemas.formats.report import Content, Report

_STATES: Final[dict[int, BreakerState]] = {0: "closed", 1: "half_open", 2: "open"}


def read(value: bytes | None) -> Content:
    """Return the state in a document.

    Raises:
        UndecodableError: if it is no shared state.
    """
    root = document_of(value)
    state = root.whole("state")
    if state not in _STATES:
        raise wrong("state", "must be 0 (closed), 1 (half-open) or 2 (open)")
    root.whole("generation")
    root.part("counts")
    root.found("expiry")
    return Content([Report(root, _STATES[state])], {})
