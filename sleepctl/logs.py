"""Log lines: ours through structlog, those of the libraries through the same door."""

import logging
import os
import sys
from typing import Final, Literal

import structlog

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]
# At info these speak of every rebalance, connection and request; what matters of it we log ourselves.
NOISY: Final = ("abc", "faust", "mode", "kafka", "uvicorn", "httpx", "httpcore", "asyncio", "rdkafka")
# Says at every retry what our own processes say once an outage, and in /status.
REPEATING: Final = ("aiokafka",)


def configure_logging(level: LogLevel, format_: LogFormat) -> None:
    """Send every log line to stderr, as JSON or for a console, from this level on.

    Libraries are heard from WARNING on, aiokafka from CRITICAL on, at `debug` all from DEBUG on.
    Tracebacks never show local variables, which may hold secrets.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
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


def hush() -> None:
    """Keep from stderr what libraries say of a failure that the command tells in its own line.

    `SLEEP_LOG_LEVEL=debug` lets them speak.
    """
    if os.environ.get("SLEEP_LOG_LEVEL", "").lower() != "debug":
        for name in REPEATING:
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _rendering(format_: LogFormat) -> list[structlog.typing.Processor]:
    if format_ == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    ]
