"""`sleepctl worker`: runs one or more workers."""

from schemas.errors import describe
from schemas.http.server import listen
from schemas.settings import Settings
from sleepctl.processes.child import Place, serve_in, take_place
from sleepctl.processes.options import Child, Processes
from sleepctl.processes.parent import supervise
from sleepctl.runtime.loading import loading
from sleepctl.runtime.logs import logged_settings
from sleepctl.ui.errors import CommandError


def worker(processes: Processes = 1, child: Child = None) -> None:
    """Run a worker until SIGTERM or SIGINT.

    It finishes its current batches first, and leaves the group.
    """
    place = take_place(child)
    settings = logged_settings(None if place is None else place.number)
    try:
        if processes > 1:
            supervise("worker", processes, listen(settings, "worker_metrics_port"))
        else:
            _serve(settings, place)
    except OSError as error:
        raise CommandError(f"the worker does not start: {describe(error)}") from None


def _serve(settings: Settings, place: Place | None) -> None:
    # The parent of several processes does not load Faust.
    with loading():
        from worker.adapters.kafka_topics import TopicsError  # noqa: PLC0415
        from worker.runtime.worker import serve  # noqa: PLC0415

    try:
        serve_in(place, lambda stop, member: serve(settings, stop=stop, member=member))
    except TopicsError as error:
        raise CommandError(f"the worker does not start: {error}") from None
