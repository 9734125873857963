"""`sleepctl worker` and `sleepctl api`: the two processes of an installation."""

import asyncio

from schemas.errors import describe
from schemas.settings import SettingsError
from sleepctl.errors import WRONG_SETTINGS, CommandError, settings_or_fail
from sleepctl.logs import configure_logging
from sleepctl.process import serve_until_stopped


def worker() -> None:
    """Run a worker until SIGTERM or SIGINT.

    It finishes the batch in hand then, and leaves the group.
    """
    settings = settings_or_fail()
    configure_logging(settings.log_level, settings.log_format)
    # Faust takes a second to load and this is the one process that needs it.
    from worker.process import serve  # noqa: PLC0415
    from worker.topics import TopicsError  # noqa: PLC0415

    async def main(stop: asyncio.Event) -> None:
        await serve(settings, stop=stop)

    try:
        serve_until_stopped(main)
    except TopicsError as error:
        raise CommandError(f"the worker does not start: {error}") from None
    except OSError as error:
        raise CommandError(f"the worker does not start: {describe(error)}") from None


def api() -> None:
    """Run an API process until SIGTERM or SIGINT.

    Requests in hand are answered first.
    """
    settings = settings_or_fail()
    configure_logging(settings.log_level, settings.log_format)
    from api.serve import serve  # noqa: PLC0415 - as in `worker`

    async def main(stop: asyncio.Event) -> None:
        await serve(settings, stop=stop)

    try:
        serve_until_stopped(main)
    except SettingsError as error:
        raise CommandError(f"settings: {error}", WRONG_SETTINGS) from None
    except OSError as error:
        raise CommandError(f"the API does not start: {describe(error)}") from None
