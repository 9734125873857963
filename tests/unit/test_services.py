"""The parts of `tests.services` that need no service."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.services import Kind, Namespace, Service, ServiceError, Services, UnavailableError
from tests.services.broker_config import as_environment, as_properties, broker_config
from tests.services.choose import wanted_kinds, wants_cluster
from tests.services.go_programs import HELM, PROMTOOL, GoProgram
from tests.services.jars import cache_folder, kafka_jars, kafka_version
from tests.services.opa import serve, start_opa
from tests.services.opa_program import OPA_VERSION, built_opa, find_opa
from tests.services.processes import available_jars
from tests.services.skips import pass_over, skip_lines
from tests.services.valkey import bundled_valkey, redis_program


class Recorder(Service):
    """A service that writes down what it is told."""

    def __init__(self, *, running: bool = True) -> None:
        super().__init__("recorder", "nowhere:0")
        self.told: list[str] = []
        self._running = running

    def launch(self) -> None:
        self.told.append("launch")
        self._running = True

    def running(self) -> bool:
        return self._running

    def answers(self) -> bool:
        return self._running and not self._paused

    def log_tail(self) -> str:
        return "last words"

    def stop(self) -> None:
        self.told.append("stop")
        self._running = False

    def kill(self) -> None:
        self.told.append("kill")
        self._running = False

    def _freeze(self, *, frozen: bool) -> None:
        self.told.append("freeze" if frozen else "thaw")

    def close(self) -> None:
        self.told.append("close")


def test_all_ways_are_tried_best_first() -> None:
    """Nothing in the environment: containers, processes, embedded."""
    assert wanted_kinds({}) == [Kind.CONTAINERS, Kind.PROCESSES, Kind.EMBEDDED]


@pytest.mark.parametrize("kind", Kind)
def test_the_environment_forces_one_way(kind: Kind) -> None:
    """The named way, and no other."""
    assert wanted_kinds({"SLEEP_TEST_SERVICES": kind.value}) == [kind]


def test_an_unknown_way_is_refused_with_the_known_ones() -> None:
    """The text names what was given and what could be."""
    with pytest.raises(UnavailableError, match="'podman', not one of containers, processes, embedded"):
        wanted_kinds({"SLEEP_TEST_SERVICES": "podman"})


def test_only_a_real_kafka_stamps_records() -> None:
    """The mock does not."""
    known = {kind: Services(kind, Recorder(), Recorder()).log_append_time for kind in Kind}
    assert known == {Kind.CONTAINERS: True, Kind.PROCESSES: True, Kind.EMBEDDED: False}


@pytest.mark.parametrize(
    ("variables", "allowed"),
    [
        ({}, True),
        ({"SLEEP_TEST_SERVICES": "embedded"}, True),
        ({"CI": "true"}, False),
        ({"CI": "true", "SLEEP_TEST_SERVICES": "embedded"}, True),
        ({"CI": "true", "SLEEP_TEST_SERVICES": "processes"}, True),
        ({"CI": "true", "SLEEP_TEST_SERVICES": "containers"}, False),
        ({"SLEEP_TEST_SERVICES": "containers"}, False),
    ],
)
def test_what_cannot_be_done_is_skipped_only_where_that_is_meant(
    variables: dict[str, str], *, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At home, and where the way is forced; never on containers, which can do everything."""
    for name in ("CI", "SLEEP_TEST_SERVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(pytest.skip.Exception if allowed else pytest.fail.Exception, match="needs a moon"):
        pass_over("needs a moon")


def test_skipped_tests_are_summed_up_by_reason() -> None:
    """One line each, however many tests, wherever they are."""

    def report(number: int, reason: str) -> pytest.TestReport:
        place = (f"test_{number}.py", number, f"Skipped: {reason}")
        return pytest.TestReport(f"test_{number}", place, {}, "skipped", place, "setup")

    reports = [report(1, "needs a moon"), report(2, "needs a sun"), report(3, "needs a moon")]
    assert list(skip_lines(reports)) == ["skipped: 2 tests: needs a moon", "skipped: 1 test: needs a sun"]


def test_the_report_says_what_and_why() -> None:
    """Way, addresses, and the reason of each way not taken."""
    services = Services(Kind.EMBEDDED, Recorder(), Recorder(), ("not containers: no engine",))
    assert str(services) == "embedded (Kafka nowhere:0, nowhere:0); not containers: no engine"


@pytest.mark.parametrize(
    ("outage", "message"),
    [
        (Service.stopped, ["stop", "launch"]),
        (Service.killed, ["kill", "launch"]),
        (Service.paused, ["freeze", "thaw"]),
    ],
    ids=["stopped", "killed", "paused"],
)
def test_an_outage_ends_with_its_block(
    outage: Callable[[Service], AbstractContextManager[None]], message: list[str]
) -> None:
    """Gone within the block, back after it."""
    service = Recorder()
    with outage(service):
        assert not service.answers()
    assert service.answers()
    assert service.told == message


def test_healing_undoes_a_pause_and_a_death() -> None:
    """And does nothing when all is well."""
    broker, store = Recorder(), Recorder()
    services = Services(Kind.PROCESSES, broker, store)
    services.heal()
    assert broker.told == store.told == []
    broker.pause()
    store.kill()
    services.heal()
    assert broker.told == ["freeze", "thaw"]
    assert store.told == ["kill", "launch"]


def test_a_service_that_ends_while_starting_shows_its_log() -> None:
    """No waiting for what will not come."""
    with pytest.raises(ServiceError, match="recorder ended while starting:\nlast words"):
        Recorder(running=False).wait_ready()


def test_a_silent_service_is_named() -> None:
    """After the time given, with its log."""
    service = Recorder()
    service.pause()
    with pytest.raises(ServiceError, match="recorder is silent after 0 s:\nlast words"):
        service.wait_ready(timeout_seconds=0)


def test_broker_settings_become_variables_and_properties() -> None:
    """One source for the container and the process."""
    config = broker_config(listen="h:1", advertised="a:2", controller="c:3", log_dir="d")
    assert as_environment(config)["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://a:2"
    assert "listeners=PLAINTEXT://h:1,CONTROLLER://c:3\n" in as_properties(config)
    assert config["auto.create.topics.enable"] == "true"


def test_namespaces_differ() -> None:
    """And are settings for a child process."""
    one, other = Namespace.fresh(), Namespace.fresh()
    assert one != other
    assert one.environ()["SLEEP_TOPIC_PREFIX"] == one.topic_prefix


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the tests' own variable, else by the desktop's, else in the home folder."""
    monkeypatch.delenv("SLEEP_TEST_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "somabrain-sleep"
    monkeypatch.setenv("SLEEP_TEST_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_the_pom_names_the_broker() -> None:
    """A release of Kafka 4."""
    assert kafka_version().startswith("4.")


def test_an_opa_on_the_path_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever its version; the cache is not touched."""
    program = tmp_path / "bin" / "opa"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_opa(tmp_path / "cache") == program
    assert not (tmp_path / "cache").exists()


def test_an_opa_in_the_cache_needs_no_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It was built there once; without it, the missing program is named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="go"):
        built_opa(tmp_path)
    program = tmp_path / f"opa-{OPA_VERSION}" / "opa"
    program.touch()
    assert find_opa(tmp_path) == program


@pytest.mark.parametrize("program", [PROMTOOL, HELM], ids=lambda program: program.name)
def test_a_go_program_on_the_path_is_taken(program: GoProgram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever its version; the cache is not touched."""
    place = tmp_path / "bin" / program.name
    place.parent.mkdir()
    place.write_text("#!/bin/sh\n")
    place.chmod(0o755)
    monkeypatch.setenv("PATH", str(place.parent))
    assert program.find(tmp_path / "cache") == place
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("program", [PROMTOOL, HELM], ids=lambda program: program.name)
def test_a_go_program_in_the_cache_needs_no_go(
    program: GoProgram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was built there once; without it, the missing program is named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "environment" / "python"))
    with pytest.raises(FileNotFoundError, match="go"):
        program.find(tmp_path)
    [folder] = tmp_path.glob(f"{program.name}-*")
    (folder / program.name).touch()
    assert program.find(tmp_path) == folder / program.name


@pytest.mark.parametrize("kind", [Kind.PROCESSES, Kind.EMBEDDED])
def test_without_a_program_there_is_no_opa_server(kind: Kind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what would give one."""
    monkeypatch.setenv("SLEEP_TEST_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="no opa, and no go"), start_opa(kind):
        pass


@pytest.mark.parametrize("make", [kafka_jars, lambda: built_opa(cache_folder())], ids=["jars", "opa"])
def test_a_cache_that_cannot_be_made_is_an_error_of_the_system(
    make: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not a missing program: a file is where the folder should be."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLEEP_TEST_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NotADirectoryError):
        make()


def test_a_cache_that_cannot_be_made_closes_the_way_and_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The next way is taken then."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLEEP_TEST_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UnavailableError, match=r"no folder for Kafka's jars.*SLEEP_TEST_CACHE"):
        available_jars()


def test_the_machine_s_redis_is_taken_and_else_the_one_of_the_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name on the PATH comes first."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_program() == bundled_valkey()
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert redis_program() == str(own)


def test_opa_is_served_as_the_how_to_page_shows() -> None:
    """The tests run what operators are told to run."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "authorisation.md").read_text(encoding="utf-8")
    shown = page.partition("```sh\n")[2].partition("\nexport")[0].replace("\\\n", " ").replace("'", "").split()
    assert shown == ["opa", *serve("127.0.0.1:8181", "deploy/opa")]


def test_unit_tests_open_no_socket() -> None:
    """The guard of this folder stands."""
    import socket  # noqa: PLC0415 - the guard replaces names of this module

    with socket.socket() as opened, pytest.raises(AssertionError, match="opens no socket"):
        opened.connect(("127.0.0.1", 9))


async def test_async_tests_run_under_the_same_guards() -> None:
    """The loop's own sockets work without connecting."""
    assert threading.current_thread() is threading.main_thread()


def test_a_cluster_is_asked_for_by_name() -> None:
    """And nothing else is taken for one."""
    assert not wants_cluster({})
    assert wants_cluster({"SLEEP_TEST_REDIS": "cluster"})
    with pytest.raises(UnavailableError, match="SLEEP_TEST_REDIS is 'sentinel'"):
        wants_cluster({"SLEEP_TEST_REDIS": "sentinel"})
