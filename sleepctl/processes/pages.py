"""Makes one page about all processes of their own pages."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import from_json

from schemas.http.pages import OK, Page, document
from sleepctl.processes.metrics import merged

_ORDER: Final = ("ok", "degraded", "bad")


class Said(NamedTuple):
    """What one process says of itself, and what its parent knows.

    Attributes:
        process: its number.
        pid: its process id; None while it does not run.
        restarts: how often it was started again.
        finding: what its parent knows, for a process that does not answer.
        page: its page, None if it does not answer.
    """

    process: int
    pid: int | None
    restarts: int
    finding: str
    page: Page | None


def status(of: Sequence[Said]) -> Page:
    """Return `/status`: whole only if each process is, with the document of each."""
    processes = [_process(said) for said in of]
    worst = max((process["status"] for process in processes), key=_ORDER.index)
    return document({"status": worst, "processes": processes}, good=worst != "bad")


def _process(said: Said) -> dict[str, Any]:
    known = {"process": said.process, "pid": said.pid, "restarts": said.restarts}
    if said.page is None:
        return {**known, "status": "bad", "finding": said.finding}
    return {**known, **from_json(said.page.body)}


def readyz(of: Sequence[Said]) -> Page:
    """Return `/readyz`: ready only if each process is."""
    ready = all(said.page is not None and said.page.status == OK for said in of)
    return document({"status": "ready" if ready else "not ready"}, good=ready)


def metrics(texts: Iterable[str]) -> Page:
    """Return `/metrics`: the metrics of all processes together."""
    return Page(OK, merged(texts), CONTENT_TYPE_LATEST)
