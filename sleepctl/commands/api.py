"""`sleepctl api`: runs an API process."""

import asyncio

from api.serve import serve
from schemas.environment import SettingsError
from schemas.errors import describe
from sleepctl.runtime.event_loop import serve_until_stopped
from sleepctl.runtime.logs import logged_settings
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError


def api() -> None:
    """Run an API process until SIGTERM or SIGINT.

    It answers the open requests first.
    """
    settings = logged_settings()

    async def main(stop: asyncio.Event) -> None:
        await serve(settings, stop=stop)

    try:
        settings.require_keys()
        serve_until_stopped(main)
    except SettingsError as error:
        raise CommandError(f"settings: {error}", WRONG_SETTINGS) from None
    except OSError as error:
        raise CommandError(f"the API does not start: {describe(error)}") from None
