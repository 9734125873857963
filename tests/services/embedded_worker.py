"""`sleepctl worker` on the embedded broker, which tells no topic's configuration: topics are taken as they are."""

from unittest.mock import patch

from schemas.settings import Settings
from sleepctl.main import app


async def _unverified(_: Settings) -> None:
    return


if __name__ == "__main__":
    with patch("worker.runtime.worker.verify_topics", _unverified):
        app(["worker"])
