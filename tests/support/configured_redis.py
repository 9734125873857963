"""Changes how a Redis server is run, for the time of a block."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import cast

import redis


@contextmanager
def configured(url: str, **settings: str) -> Iterator[None]:
    """Change a server's settings within the block."""
    with closing(redis.Redis.from_url(url)) as client:
        before = {name: str(cast("dict[str, str]", client.config_get(name))[name]) for name in settings}
        try:
            for name, value in settings.items():
                client.config_set(name, value)
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)
