"""What holds for all tests: settings of the caller's shell do not reach them, and services are shared."""

import os

import pytest

from tests.services.fixtures import (
    _healthy_services,
    _real_kafka,
    module_namespace,
    namespace,
    on_cluster,
    opa,
    redis_cluster,
    services,
    services_line,
)

__all__ = [
    "_healthy_services",
    "_real_kafka",
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
    ours = [name for name in os.environ if name.startswith("SLEEP_")]
    for name in ours:
        if not name.startswith(KEPT_PREFIX):
            del os.environ[name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which services the tests ran on."""
    if line := config.stash.get(services_line, ""):
        terminalreporter.write_line(f"services: {line}")
