"""Hystrix: a sample of the metrics stream, as JSON or as a `data:` line of `hystrix.stream`.

Source: `SerialHystrixDashboardData` of hystrix-serialization 1.5.18, and `HystrixMetricsStreamServlet`.

- A sample is a level, not a change. The stream repeats it twice a second, so ingress removes repeats.
- `isCircuitBreakerOpen` is true also while one request is tried, and while the breaker is forced open. It is `open`
  here: a claim of `forced_open` has no lease, while the samples of a process that is gone must end.
- Turbine adds up the samples of several processes. Then `isCircuitBreakerOpen` is no boolean, and is refused.
- Thread pools and collapsers have no breaker. `ping:` keeps a connection open.
"""

from typing import Final

from schemas.formats.parts import document_of
from schemas.formats.report import NO_TRANSITION, Content, Report

_COMMAND: Final = "HystrixCommand"
_TYPES: Final = dict.fromkeys((_COMMAND, "HystrixThreadPool", "HystrixCollapser"))
_DATA: Final = b"data:"
_PING: Final = b"ping:"


def read(value: bytes | None) -> Content:
    """Return the level in a sample.

    Raises:
        UndecodableError: if it is no sample.
    """
    if value is not None and value.strip() == _PING:
        return NO_TRANSITION
    root = document_of(value.removeprefix(_DATA) if value is not None else None)
    root.one_of("type", _TYPES)
    if root.members["type"] != _COMMAND:
        return NO_TRANSITION
    is_open = root.flag("isCircuitBreakerOpen")
    report = Report(
        root,
        "open" if is_open else "closed",
        breaker=root.found("name"),
        occurred_at=root.whole("currentTime"),
        cause=f"{root.whole('errorPercentage')}% of {root.whole('requestCount')} calls failed" if is_open else None,
    )
    return Content([report], {})
