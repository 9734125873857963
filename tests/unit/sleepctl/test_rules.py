"""`sleepctl rules`."""

import json
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.redis.progress import LAYOUT, Progress
from schemas.wire.cloudevents import decode
from schemas.wire.events import RulesEvent
from tests.support.times import NOW
from tests.unit.sleepctl.conftest import Outcome, Run
from tests.unit.sleepctl.fakes import FakeLog, Installation
from worker.ports import PartitionStatus

RULES = {"policy": {"ceiling": "deep"}, "retire_after_seconds": 120}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Rules that are valid."""
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(RULES))
    return path


def test_apply_writes_one_event_without_key_or_subject_to_every_partition(run: Run, log: FakeLog, file: Path) -> None:
    """All partitions get the same event, so all number the same rules."""
    outcome = run("rules", "apply", str(file), "--actor", "ops", "--reason", "drill", "--json")
    assert outcome.code == 0, outcome.err
    assert [(topic, partition, key) for topic, partition, key, _ in log.records] == [
        ("sleep.events", partition, None) for partition in range(8)
    ]
    assert len({value for *_, value in log.records}) == 1
    event = decode(None, log.records[0][3], ())
    assert isinstance(event, RulesEvent)
    assert (event.data.rules, event.data.actor, event.data.reason) == (RULES, "ops", "drill")
    applied = json.loads(outcome.out)
    assert (applied["operation_id"], applied["digest"]) == (event.data.operation_id, parse_rules(0, RULES).digest)
    assert applied["offsets"] == {str(partition): partition for partition in range(8)}


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 12345"), OSError("No username set")])
def test_apply_names_the_number_of_a_user_without_a_name(
    run: Run, log: FakeLog, file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A container may run as a user that its /etc/passwd does not list; Python 3.13 raises another error."""

    def nobody() -> str:
        raise error

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert run("rules", "apply", str(file)).code == 0
    event = decode(None, log.records[0][3], ())
    assert isinstance(event, RulesEvent)
    assert event.data.actor == "uid 12345"


def test_apply_names_the_user_of_the_system_where_no_actor_is_given(
    run: Run, log: FakeLog, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit always has somebody."""
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    outcome = run("rules", "apply", str(file))
    event = decode(None, log.records[0][3], ())
    assert isinstance(event, RulesEvent)
    assert event.data.actor == "ada"
    assert f"rules {parse_rules(0, RULES).digest} are on 8 partitions" in outcome.out


def test_rules_that_leave_breakers_to_the_built_in_rule_are_applied_with_a_note(
    run: Run, log: FakeLog, tmp_path: Path
) -> None:
    """`[]` ignores nothing: every breaker still freezes its tenant."""
    file = tmp_path / "rules.json"
    file.write_text('{"policy": {"breakers": []}}')
    outcome = run("rules", "apply", str(file))
    assert (outcome.code, len(log.records)) == (0, 8)
    assert "note: the built-in rule applies to each breaker that no rule matches; end with `{" in outcome.out
    assert len(json.loads(run("rules", "apply", str(file), "--json").out)["notes"]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('{"policy": {"floor": "deep", "ceiling": "light"}, "x": 1}', "policy: floor deep is above ceiling light; x: "),
        ('{"policy": {"floor": "light"}}', "floor active"),
    ],
)
def test_wrong_rules_are_never_written_and_each_wrong_field_is_named(
    run: Run, log: FakeLog, tmp_path: Path, content: str, message: str
) -> None:
    """They are checked here, by the code that the worker will check them with."""
    path = tmp_path / "rules.json"
    path.write_text(content)
    outcome = run("rules", "apply", str(path))
    assert (outcome.code, log.records) == (2, [])
    assert message in outcome.err


def test_an_actor_that_no_event_may_hold_is_refused(run: Run, log: FakeLog, file: Path) -> None:
    """Control characters have no place in the audit."""
    outcome = run("rules", "apply", str(file), "--actor", "a\nb")
    assert (outcome.code, log.records) == (2, [])
    assert outcome.err == "sleepctl: --actor must be free of control characters\n"


def test_a_topic_with_another_partition_count_is_refused(
    run: Run, log: FakeLog, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition without the rules would fold by others."""
    monkeypatch.setenv("SLEEP_PARTITIONS", "4")
    outcome = run("rules", "apply", str(file))
    assert (outcome.code, log.records) == (1, [])
    assert "has 8 partitions and SLEEP_PARTITIONS is 4" in outcome.err


@pytest.mark.usefixtures("installed")
def test_a_partition_that_does_not_take_them_is_told_and_the_others_have_them(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applying again is harmless, and the text says so."""
    refusing = FakeLog(8, refusing=(3,))
    monkeypatch.setattr("sleepctl.commands.rules.KafkaLog", lambda _: refusing)
    outcome = run("rules", "apply", str(file))
    assert (outcome.code, len(refusing.records)) == (1, 7)
    assert "on 7 of 8 partitions; apply them again, which is safe" in outcome.err


def _progress(*documents: dict[str, Any], swept: int | None = None) -> Progress:
    rules = [BUILT_IN_RULES, *(parse_rules(number, document) for number, document in enumerate(documents, start=1))]
    return Progress(0, None, None, None, 0, rules, len(documents) if swept is None else swept, None)


class FakeStore:
    """A store that says where each partition stands."""

    def __init__(self, seen: list[Progress] | Exception) -> None:
        self._found = seen
        self.closed = False

    async def partition_status(self, partition: int) -> PartitionStatus:
        if isinstance(self._found, Exception):
            raise self._found
        return PartitionStatus(
            self._found[partition], begun=True, records=0, timers=0, counted=0, open=0, operations=0, ended=0
        )

    async def close(self) -> None:
        self.closed = True


def _put(monkeypatch: pytest.MonkeyPatch, seen: list[Progress] | Exception) -> FakeStore:
    store = FakeStore(seen)
    monkeypatch.setattr("worker.adapters.redis_store.LaneStore.connect", lambda _: store)
    monkeypatch.setenv("SLEEP_PARTITIONS", "2")
    return store


@pytest.mark.usefixtures("installed")
def test_show_tells_the_rules_in_force_once_where_they_are_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual case is one set of rules."""
    store = _put(monkeypatch, [_progress(RULES), _progress(RULES)])
    outcome = run("rules", "show")
    assert outcome.code == 0
    assert f"rules {parse_rules(0, RULES).digest} on partition 0 (number 1), 1 (number 1)\n" in outcome.out
    assert outcome.out.count("retire_after_seconds  120") == 1
    assert "note:" not in outcome.out
    assert store.closed


@pytest.mark.usefixtures("installed")
def test_show_tells_apart_partitions_that_differ_and_those_still_at_work(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An apply that failed half-way is seen here."""
    _put(monkeypatch, [_progress(RULES, swept=0), _progress()])
    output = run("rules", "show").out
    assert "on partition 1 (number 0)" in output
    assert "partitions 0 still apply them to their tenants" in output
    document = json.loads(run("rules", "show", "--json").out)
    assert document["same"] is False
    assert [entry["notes"] for entry in document["partitions"]] == [[], []]
    assert [(entry["number"], entry["swept"]) for entry in document["partitions"]] == [(1, 0), (0, 0)]


@pytest.mark.usefixtures("installed")
def test_show_notes_rules_that_leave_breakers_to_the_built_in_rule(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each set of rules."""
    problems = _progress({"policy": {"breakers": [{"match": "pay*"}]}})
    _put(monkeypatch, [problems, problems])
    assert run("rules", "show").out.count("note: the built-in rule applies to each breaker that no rule matches") == 1


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RedisConnectionError("refused"), "Redis does not answer: ConnectionError: refused"),
        (ValueError("progress has layout 9"), "cannot be read: progress has layout 9"),
    ],
)
def test_show_says_why_there_is_nothing_to_show(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    """One line, and the connection is closed."""
    store = _put(monkeypatch, error)
    outcome = run("rules", "show")
    assert outcome.code == 1
    assert message in outcome.err
    assert store.closed


def _stored(run: Run, installation: Installation, *arguments: str) -> Outcome:
    """Try rules on an installation with one tenant, which a breaker froze."""
    lane = installation.lane
    installation.stored.tenants = dict(lane.packed)
    installation.stored.progress = {b"next": b"2", b"records": b"1", b"layout": str(LAYOUT).encode()}
    return run("rules", "apply", *arguments, "--dry-run")


@pytest.mark.usefixtures("installed")
def test_a_dry_run_counts_and_writes_nothing(
    run: Run, installation: Installation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people, and for programs."""
    monkeypatch.setattr("sleepctl.commands.rules.LaneStore.connect", lambda _: installation.store)
    monkeypatch.setattr("sleepctl.commands.rules.now_ms", lambda: NOW + 1)
    outcome = _stored(run, installation, str(file))
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [
        f"rules {parse_rules(0, RULES).digest} would change the state of 1 of 1 tenants",
        "  freeze → deep    1: acme",
        "  parameters only: 0; records that retire at once: 0",
        "nothing was written; without --dry-run the rules are applied",
    ]
    document = json.loads(_stored(run, installation, str(file), "--json").out)
    assert document["changes"] == [{"from": "freeze", "to": "deep", "tenants": 1, "examples": ["acme"]}]
    assert installation.store.faults.calls.keys() == {"partition_status", "scan"}


@pytest.mark.usefixtures("installed")
def test_a_dry_run_without_redis_says_so(
    run: Run, installation: Installation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line."""
    monkeypatch.setattr("sleepctl.commands.rules.LaneStore.connect", lambda _: installation.store)
    installation.store.faults.down.add("scan")
    outcome = _stored(run, installation, str(file))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("sleepctl: Redis does not answer: ")
