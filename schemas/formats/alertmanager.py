"""Alertmanager: a webhook of version 4.

Source: `Message` in `notify/webhook/webhook.go` and `Data` in `template/template.go` of prometheus/alertmanager.

- The status of each alert counts. That of the group is `firing` as long as one of its alerts fires.
- `firing` is open, `resolved` is closed. A report has no time: `startsAt` stays the same in all repeats, and goes back
  when an alert fires again with another start.
- An alert without the label of the tenant is counted, not refused. Alertmanager never repeats a group that was refused
  with a 4xx, so one such alert would lose all others. A label that is empty is absent, as everywhere in Prometheus.
- `truncatedAlerts` counts alerts that `max_alerts` of the receiver left out.
"""

from typing import Final

from schemas.domain.state import BreakerState
from schemas.formats.parts import Part, document_of, wrong
from schemas.formats.report import Content, Report

_STATES: Final[dict[str, BreakerState]] = {"firing": "open", "resolved": "closed"}
_VERSIONS: Final = {"4": None}
_CAUSE: Final = 256


def read(value: bytes | None) -> Content:
    """Return the alerts of a webhook.

    Raises:
        UndecodableError: if it is no webhook of version 4.
    """
    root = document_of(value)
    root.one_of("version", _VERSIONS)
    # Earlier releases with version 4 leave it out.
    truncated = root.whole("truncatedAlerts") if "truncatedAlerts" in root.members else 0
    reports = [_report(alert) for alert in root.parts("alerts")]
    return Content(reports, {"truncated": truncated} if truncated else {})


def _report(alert: Part) -> Report:
    state = alert.one_of("status", _STATES)
    for name, label in alert.part("labels").members.items():
        if not isinstance(label, str):
            raise wrong(alert.at(f"labels.{name}"), "must be a string")
    return Report(alert, state, cause=_summary(alert))


def _summary(alert: Part) -> str | None:
    """Return the alert's summary for people, on one line; None without one."""
    annotations = alert.members.get("annotations")
    summary = annotations.get("summary") if isinstance(annotations, dict) else None
    if not isinstance(summary, str):
        return None
    printable = "".join(character if character.isprintable() else " " for character in summary[:_CAUSE])
    return " ".join(printable.split()) or None
