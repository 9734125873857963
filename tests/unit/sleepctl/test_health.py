"""`sleepctl health`."""

import http.client
import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import REQUIRED

PORTS = {"SLEEP_API_PORT": "18080", "SLEEP_WORKER_METRICS_PORT": "18081"}
Listening = Callable[..., list[tuple[str, int]]]


class Connection:
    """Stands for an HTTP connection: what listens on a port answers with a status, or fails in its way."""

    listening: dict[int, int | OSError]
    asked: list[tuple[str, int]]

    def __init__(self, host: str, port: int, timeout: float) -> None:
        assert timeout < 5
        self.asked.append((host, port))
        self._result = self.listening.get(port, ConnectionRefusedError(111, "refused"))

    def request(self, method: str, path: str) -> None:
        """Connect and send."""
        assert (method, path) == ("GET", "/healthz")
        if isinstance(self._result, OSError):
            raise self._result

    def getresponse(self) -> SimpleNamespace:
        """Return the status."""
        return SimpleNamespace(status=self._result)

    def close(self) -> None:
        """Do nothing: there is no socket."""


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Listening:
    """Say what listens on the two ports; it returns the list of addresses that are asked."""

    def listen(**results: int | OSError) -> list[tuple[str, int]]:
        ports = {"api": 18080, "worker": 18081}
        asked: list[tuple[str, int]] = []
        members = {"listening": {ports[name]: result for name, result in results.items()}, "asked": asked}
        monkeypatch.setattr(http.client, "HTTPConnection", type("Listening", (Connection,), members))
        return asked

    return listen


def test_one_process_that_answers_is_enough(run: Run, listening: Listening) -> None:
    """A container has one of the two."""
    listening(worker=200)
    outcome = run("health", **PORTS, **REQUIRED)
    assert (outcome.code, outcome.out) == (0, "worker: ok\n")


def test_a_process_that_says_it_is_unhealthy_is_named(run: Run, listening: Listening) -> None:
    """Whatever the other one says."""
    listening(api=200, worker=503)
    outcome = run("health", **PORTS, **REQUIRED)
    assert (outcome.code, outcome.err) == (1, "sleepctl: worker: /healthz answered 503\n")


def test_a_process_that_does_not_answer_in_time_is_named(run: Run, listening: Listening) -> None:
    """It listens, so it is there, and hangs."""
    listening(api=TimeoutError("timed out"))
    outcome = run("health", **PORTS, **REQUIRED)
    assert (outcome.code, outcome.err) == (1, "sleepctl: api: TimeoutError: timed out\n")


def test_where_nothing_listens_the_ports_are_told(run: Run, listening: Listening) -> None:
    """They may not be those that the process was given."""
    listening()
    outcome = run("health", **PORTS, **REQUIRED)
    assert outcome.code == 1
    assert "nothing listens here (looked for api on port 18080 and worker on port 18081)" in outcome.err


def test_a_process_that_is_asked_for_has_to_answer(run: Run, listening: Listening) -> None:
    """The other one does not count."""
    listening(api=200)
    outcome = run("health", "worker", **PORTS, **REQUIRED)
    assert (outcome.code, outcome.err.count("looked for worker on port 18081")) == (1, 1)


def test_every_interface_is_asked_on_loopback(run: Run, listening: Listening) -> None:
    """`0.0.0.0` is an address to listen on, not one to connect to."""
    asked = listening(api=200)
    run("health", "api", SLEEP_API_HOST="0.0.0.0", **PORTS, **REQUIRED)  # noqa: S104 - a setting, not a socket
    assert asked == [("127.0.0.1", 18080)]


def test_json_has_an_entry_for_each_process(run: Run, listening: Listening) -> None:
    """With null where nothing listens."""
    listening(api=200)
    assert json.loads(run("health", "--json", **PORTS, **REQUIRED).out) == {"api": "ok", "worker": None}
