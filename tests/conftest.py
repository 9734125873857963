"""What holds for all tests: settings of the caller's shell do not reach them, and services are shared."""

import os
from pathlib import Path

import pytest

from tests.services.fixtures import (
    _healthy_services,
    _real_kafka,
    _real_kafka_of_module,
    module_namespace,
    namespace,
    on_cluster,
    opa,
    redis_cluster,
    services,
    services_line,
)
from tests.services.skips import skip_lines
from tests.support.failures import FILE_VARIABLE, failures_text

__all__ = [
    "_healthy_services",
    "_real_kafka",
    "_real_kafka_of_module",
    "module_namespace",
    "namespace",
    "on_cluster",
    "opa",
    "redis_cluster",
    "services",
]

KEPT_PREFIX = "SLEEP_TEST_"


def pytest_configure() -> None:
    """Forget SLEEP_ variables, before anything reads them; SLEEP_TEST_ ones are for the tests."""
    settings = [name for name in os.environ if name.startswith("SLEEP_")]
    for name in settings:
        if not name.startswith(KEPT_PREFIX):
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a service, so that it can be run alone in a further way of getting services."""
    for item in items:
        if isinstance(item, pytest.Function) and "services" in item.fixturenames:
            item.add_marker(pytest.mark.services)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which services the tests ran on, what was skipped with a line for each reason, and note what failed."""
    failed, errors, rerun = (terminalreporter.stats.get(outcome, []) for outcome in ("failed", "error", "rerun"))
    # A worker of xdist has a reporter too; the controller knows what failed in all of them.
    in_worker = hasattr(config, "workerinput")
    if (path := os.environ.get(FILE_VARIABLE)) and (failed or errors or rerun) and not in_worker:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(failures_text(failed, errors, rerun))
    for line in skip_lines(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)
    if line := config.stash.get(services_line, ""):
        terminalreporter.write_line(f"services: {line}")
