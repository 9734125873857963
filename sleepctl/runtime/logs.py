"""Logging: our log lines and those of libraries, in one format."""

import json
import logging
import os
import sys
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal, TextIO

import structlog

from schemas.settings import Settings
from sleepctl.ui.errors import notices, settings_or_fail

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]
# At info these log every rebalance, connection and request. We log the important ones ourselves.
NOISY: Final = ("abc", "faust", "mode", "kafka", "uvicorn", "httpx", "httpcore", "asyncio", "rdkafka")
# It logs at every retry what our processes log once an outage, and show in /status.
REPEATING: Final = ("aiokafka",)

_JSON: Final = json.JSONEncoder(default=repr)

log = structlog.get_logger(__name__)


class _Lines:
    """Writes our log lines. Through the library's loggers, a line took three times as long.

    Args:
        stream: takes the lines.
        name: of the logger.
    """

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line. A stream that takes none must not fail whatever is being logged."""
        with suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


def configure_logging(
    level: LogLevel, format_: LogFormat, process: int | None = None, *, silent: Collection[str] = ()
) -> None:
    """Send every log line of this level or above to stderr, as JSON or for a console.

    Libraries log from WARNING on, aiokafka from CRITICAL on; at `debug` all log from DEBUG on. Tracebacks never show
    local variables, which may hold secrets.

    Args:
        level: the level.
        format_: the format.
        process: the number of this process among those of one command, for each line; None if it is the only one.
        silent: the names of loggers of ours whose lines are dropped.
    """
    structlog.configure(
        processors=[_completing(process, frozenset(silent)), *_rendering(format_)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=partial(_Lines, sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_of_libraries(process),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(format_)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    floor = logging.DEBUG if level == "debug" else max(logging.WARNING, root.level)
    for name in NOISY:
        logging.getLogger(name).setLevel(floor)
    for name in REPEATING:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)
    logging.captureWarnings(capture=True)


def logged_settings(process: int | None = None) -> Settings:
    """Configure logging and return the settings in the environment; log their warnings.

    Args:
        process: the number of this process among those of one command. Their parent has logged the warnings.

    Raises:
        CommandError: naming each variable that is missing or wrong; exit status 2.
    """
    settings = settings_or_fail(quiet=True)
    configure_logging(settings.log_level, settings.log_format, process)
    for notice in notices() if process is None else ():
        log.warning("environment_ignored", notice=notice)
    return settings


def hush() -> None:
    """Silence libraries that log a failure which the command reports itself.

    `SLEEP_LOG_LEVEL=debug` keeps them.
    """
    if os.environ.get("SLEEP_LOG_LEVEL", "").lower() != "debug":
        for name in REPEATING:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # With PYTHONDEVMODE asyncio warns of each step that takes a tenth of a second.
        logging.getLogger("asyncio").setLevel(logging.ERROR)


def _completing(process: int | None, silent: Collection[str]) -> structlog.typing.Processor:
    """Return what completes one of our lines: one function, since each request writes a line.

    The fields and their order are those of `_of_libraries`.
    """

    def complete(logger: _Lines, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if logger.name in silent:
            raise structlog.DropEvent
        if process is not None:
            line = {"process": process, **line}
        line["level"] = method
        line["logger"] = logger.name
        line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return line

    return complete


def _of_libraries(process: int | None) -> list[structlog.typing.Processor]:
    def numbered(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return line if process is None else {"process": process, **line}

    return [
        structlog.contextvars.merge_contextvars,
        numbered,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ExtraAdder(),
    ]


def _rendering(format_: LogFormat) -> list[structlog.typing.Processor]:
    if format_ == "json":
        return [_as_json]
    return [
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    ]


def _as_json(logger: object, method: str, line: structlog.typing.EventDict) -> str:
    if "exc_info" in line:
        line = structlog.processors.format_exc_info(logger, method, line)
    return _JSON.encode(line)
