"""Envoy: a line of the outlier detection log.

Source: `OutlierDetectionEvent` of envoy.data.cluster.v3, and `EventLoggerImpl` in
`source/common/upstream/outlier_detection_impl.cc`. Envoy writes a line of JSON for each event, with every flag and
enum.

- `action` decides. `EJECT` is open, and `UNEJECT` is closed.
- `enforced: false` on `EJECT` means that Envoy only observed: the host still gets requests. On `UNEJECT` the field has
  no meaning, and is always false.
- `UNEJECT` has a `type` too. It is that of no ejection.
- The instance is the upstream and the proxy. Each proxy ejects for itself, and the line does not name the proxy.
"""

from typing import Final

from schemas.domain.state import BreakerState
from schemas.formats.parts import document_of, wrong
from schemas.formats.report import NO_TRANSITION, Content, Report

_ACTIONS: Final[dict[str, BreakerState]] = {"EJECT": "open", "UNEJECT": "closed"}


def read(value: bytes | None) -> Content:
    """Return the ejection in a line, or its end.

    Raises:
        UndecodableError: if it is no line of this log.
    """
    root = document_of(value)
    state = root.one_of("action", _ACTIONS)
    cluster, upstream, timestamp = root.found("cluster_name"), root.found("upstream_url"), root.time("timestamp")
    if not upstream.text:
        raise wrong("upstream_url", "must not be empty")
    if state == "open" and not root.flag("enforced"):
        return NO_TRANSITION
    cause = root.found("type").text if state == "open" else None
    return Content([Report(root, state, cluster, upstream, timestamp, cause)], {})
