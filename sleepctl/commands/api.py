"""`sleepctl api`: runs one or more API processes."""

from schemas.environment import SettingsError
from schemas.errors import describe
from schemas.http.server import listen
from schemas.settings import Settings
from sleepctl.processes.child import Place, serve_in, take_place
from sleepctl.processes.options import Child, Processes
from sleepctl.processes.parent import supervise
from sleepctl.runtime.loading import loading
from sleepctl.runtime.logs import logged_settings
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError


def api(processes: Processes = 1, child: Child = None) -> None:
    """Run the API until SIGTERM or SIGINT.

    It answers the open requests first.
    """
    place = take_place(child)
    settings = logged_settings(None if place is None else place.number)
    try:
        settings.require_keys()
        if processes > 1:
            supervise("api", processes, listen(settings, "api_port"))
        else:
            _serve(settings, place)
    except SettingsError as error:
        raise CommandError(f"settings: {error}", WRONG_SETTINGS) from None
    except OSError as error:
        raise CommandError(f"the API does not start: {describe(error)}") from None


def _serve(settings: Settings, place: Place | None) -> None:
    # The parent of several processes does not load the application.
    with loading():
        from api.serve import serve  # noqa: PLC0415

    serve_in(place, lambda stop, member: serve(settings, stop=stop, member=member))
