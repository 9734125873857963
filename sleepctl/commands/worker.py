"""`sleepctl worker`: runs a worker."""

import asyncio

from schemas.errors import describe
from sleepctl.runtime.event_loop import serve_until_stopped
from sleepctl.runtime.logs import logged_settings
from sleepctl.ui.errors import CommandError
from worker.adapters.kafka_topics import TopicsError
from worker.runtime.worker import serve


def worker() -> None:
    """Run a worker until SIGTERM or SIGINT.

    It finishes its current batches first, and leaves the group.
    """
    settings = logged_settings()

    async def main(stop: asyncio.Event) -> None:
        await serve(settings, stop=stop)

    try:
        serve_until_stopped(main)
    except TopicsError as error:
        raise CommandError(f"the worker does not start: {error}") from None
    except OSError as error:
        raise CommandError(f"the worker does not start: {describe(error)}") from None
