"""`sleepctl replay`, on topics in memory."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from tests.support.batches import failing_at
from tests.support.events import Document, breaker, policy, rules
from tests.support.records import source
from tests.support.times import MINUTE, NOW, SECOND
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import ACME, TOPICS, Installation
from worker.adapters.topic_reader import TopicReadError
from worker.ports import Output

pytestmark = pytest.mark.usefixtures("installed", "installation")

OTHER = (ACME + 1) % 8


@pytest.fixture
def deep_at_most(tmp_path: Path) -> str:
    """A file with other rules: breakers ask for deep at most."""
    file = tmp_path / "rules.json"
    file.write_text('{"policy": {"breakers": [{"match": "*", "open": "deep"}]}}')
    return str(file)


@pytest.fixture
def floor(tmp_path: Path) -> str:
    """A file with a policy: never shallower than light."""
    file = tmp_path / "policy.json"
    file.write_text('{"floor": "light"}')
    return str(file)


def applied(installation: Installation, *events: tuple[int, Document]) -> None:
    """Have a worker fold and publish more events of acme's partition, each at so many ms after NOW."""
    for after, document in events:
        log = installation.kafka.log(TOPICS.events, ACME)
        record = source(log.end, NOW + after, document)
        record.partition = ACME
        log.append([Output(record.key, record.value, record.headers)], NOW + after)
        states, rows = len(installation.lane.states), len(installation.lane.transitions)
        installation.lane.apply([record])
        installation.kafka.log(TOPICS.states, ACME).append(installation.lane.states[states:])
        installation.kafka.log(TOPICS.transitions, ACME).append(installation.lane.transitions[rows:])
        installation.reader.commits = {ACME: log.end}


def document_of(run: Run, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what a replay that succeeds prints as JSON."""
    outcome = run("replay", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_a_replay_under_the_recorded_rules_agrees_with_the_audit(run: Run) -> None:
    """Acme is frozen by its breaker from the first event to the end."""
    document = document_of(run)
    assert (document["events"], document["tenants"]) == (2, {"replayed": 1, "different": 0, "inexact": 0})
    assert document["seconds_asleep"]["replayed"] == {"light": 0.0, "deep": 0.0, "freeze": 60.0}
    assert document["audit"] == {"matched": 2, "different": 0, "tenants": [], "examples": []}
    assert [each["events"] for each in document["partitions"]] == [2 if each == ACME else 0 for each in range(8)]
    outcome = run("replay")
    assert "2 events of 1 tenants on 8 partitions" in outcome.out
    assert "the audit agrees: it has the same 2 rows" in outcome.out
    assert "recorded" not in outcome.out


def test_a_replay_writes_nothing(run: Run, installation: Installation, deep_at_most: str) -> None:
    """Neither to a topic nor to the store."""
    topics = [installation.kafka.log(name, number) for name in TOPICS for number in range(8)]
    before = [log.end for log in topics]
    assert run("replay", "--rules", deep_at_most).code == 0
    assert [log.end for log in topics] == before
    assert not installation.store.partitions


def test_other_rules_show_what_would_have_been_different(
    run: Run, installation: Installation, deep_at_most: str
) -> None:
    """For machines and for people. The operation's end, which is that of the range, is the same on both sides."""
    applied(installation, (10 * SECOND, breaker("half_open")))
    document = document_of(run, "--rules", deep_at_most)
    [different] = document["different"]
    assert different["seconds_asleep"] == {
        "recorded": {"light": 0.0, "deep": 50.0, "freeze": 10.0},
        "replayed": {"light": 0.0, "deep": 60.0, "freeze": 0.0},
    }
    assert different["transitions"] == {"recorded": 3, "replayed": 2, "only_recorded": 2, "only_replayed": 1}
    assert [(each["side"], each["from"], each["to"]) for each in document["changes"]] == [
        ("recorded", "active", "freeze"),
        ("replayed", "active", "deep"),
        ("recorded", "freeze", "deep"),
    ]
    out = run("replay", "--rules", deep_at_most).out
    assert "1 tenants would have been different, recorded → replayed:" in out
    assert "50 → 60" in out
    assert f"replayed  2026-11-22T08:07:17.992Z  acme  active to deep: breaker payments@1, at {ACME}:0" in out


def test_rules_that_decide_alike_say_so(run: Run, tmp_path: Path) -> None:
    """The built-in rules, written out."""
    (tmp_path / "same.json").write_text("{}")
    assert "no tenant would have been different" in run("replay", "--rules", str(tmp_path / "same.json")).out


def test_a_policy_is_of_the_named_tenants(run: Run, installation: Installation, floor: str) -> None:
    """Its floor holds when the breaker closes."""
    applied(installation, (10 * SECOND, breaker("closed")), (20 * SECOND, policy("p-1", {"ceiling": "active"})))
    document = document_of(run, "--policy", floor, "--tenant", "acme")
    assert document["seconds_asleep"]["replayed"] == {"light": 0.0, "deep": 50.0, "freeze": 10.0}
    assert document["seconds_asleep"]["recorded"] == {"light": 0.0, "deep": 10.0, "freeze": 10.0}
    assert [each["partition"] for each in document["partitions"]] == [ACME]


def test_a_range_is_settled_at_its_end(run: Run, installation: Installation) -> None:
    """A position is that of the first event that is not replayed; a time may be between two events."""
    applied(installation, (10 * SECOND, breaker("half_open")))
    document = document_of(run, "--to", f"{ACME}:2")
    assert document["seconds_asleep"]["replayed"]["freeze"] == 10.0
    assert [each["to"] for each in document["partitions"]] == [f"{ACME}:2"]
    document = document_of(run, "--from", str(NOW + 5 * SECOND), "--to", str(NOW + 12 * SECOND))
    assert document["seconds_asleep"]["replayed"] == {"light": 0.0, "deep": 2.0, "freeze": 5.0}
    assert document_of(run, "--from", f"{ACME}:2")["events"] == 1


def test_rows_that_are_not_certainly_published_are_not_compared(run: Run, installation: Installation) -> None:
    """The worker has not committed the second event."""
    installation.reader.commits = {ACME: 1}
    assert document_of(run)["audit"]["matched"] == 1


def test_an_audit_that_differs_fails(run: Run, installation: Installation) -> None:
    """The rows are named, and the result is printed all the same."""
    installation.kafka.log(TOPICS.transitions, ACME).trim(1)
    outcome = run("replay")
    assert outcome.code == 1
    assert "the audit differs in 1 rows of 1 tenants, and agrees in 1:" in outcome.out
    assert f"  {ACME}:0:0  acme  in the replay" in outcome.out
    assert outcome.err.startswith("sleepctl: 1 rows of the audit are not those of the replay")


def test_inexact_tenants_are_named(run: Run, installation: Installation) -> None:
    """Compaction has removed the record from before the range."""
    applied(installation, (10 * SECOND, breaker("half_open")))
    installation.kafka.log(TOPICS.events, ACME).trim(1)
    states = installation.kafka.log(TOPICS.states, ACME)
    states.trim(states.end - 1)
    document = document_of(run, "--tenant", "acme")
    assert document["inexact"] == [{"tenant": "acme", "begins": f"{ACME}:2"}]
    out = run("replay", "--tenant", "acme").out
    assert "inexact: 1 tenants, since `sleep.states` no longer has their record from before the range:" in out
    assert f"  acme begins at {ACME}:2" in out


def test_a_range_that_retention_has_cut_says_from_where_it_can(run: Run, installation: Installation) -> None:
    """And from there it can."""
    applied(installation, (10 * SECOND, breaker("half_open")))
    installation.kafka.log(TOPICS.events, ACME).trim(2)
    outcome = run("replay", "--from", str(NOW))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        f"sleepctl: retention has cut the range: the log of partition {ACME} begins at {ACME}:2, "
        "2026-11-22T08:07:27.992Z. Replay from there or later: `--from 2026-11-22T08:07:27.992Z`\n"
    )
    assert run("replay", "--from", "2026-11-22T08:07:27.992Z").code == 0
    assert "`--from " in run("replay", "--from", f"{ACME}:1").err
    outcome = run("replay", "--from", f"{ACME}:2")
    assert outcome.code == 0
    assert f"the log of partition {ACME} begins at {ACME}:2, less than two hours before the range" in outcome.out
    assert "less than two hours" not in run("replay", "--from", f"{OTHER}:0").out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--from", "noon"], "--from 'noon' is neither a position P:O"),
        (["--to", "2026-11-22T08:00:00"], "--to '2026-11-22T08:00:00' has no time zone"),
        (["--to", str(NOW + 2 * MINUTE)], "is still to come; it is 2026-11-22T08:08:17.992Z"),
        (["--from", str(NOW + SECOND), "--to", str(NOW)], "--from must be before --to"),
        (["--from", "9:0"], "there is no partition 9: SLEEP_PARTITIONS is 8"),
        (["--from", f"{ACME}:0", "--to", f"{OTHER}:0"], "a position names one"),
        (["--from", f"{OTHER}:0", "--tenant", "acme"], f"tenant acme is on partition {ACME}"),
        (["--tenant", "a b"], "--tenant must be"),
        (["--explain", "3:4"], "--explain '3:4' is no id of a transition, such as 3:1042:0"),
        (["--explain", f"{ACME}:0:0", "--to", str(NOW)], "--explain takes neither --to, nor --tenant"),
        (["--explain", f"{ACME}:0:1"], f"{ACME}:0:1 is no row of the audit: the event has 1 rows"),
    ],
)
def test_a_mistake_of_the_caller_is_one_line(run: Run, arguments: list[str], why: str) -> None:
    """With exit status 2."""
    outcome = run("replay", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert why in outcome.err
    assert outcome.err.count("\n") == 1


def test_files_are_checked_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    """Each wrong field is named, and a policy needs its tenant."""
    file = tmp_path / "x.json"
    for content, why in (("{", "is not JSON"), ('{"floor": "deap"}', "x.json: floor: "), ("[]", "x.json: ")):
        file.write_text(content)
        outcome = run("replay", "--policy", str(file), "--tenant", "acme")
        assert (outcome.code, why in outcome.err) == (2, True), outcome.err
        assert run("replay", "--rules", str(file)).code == 2
    assert "--policy needs --tenant" in run("replay", "--policy", str(file)).err


def test_a_position_beyond_the_log_is_one_line(run: Run) -> None:
    """It says where the log ends."""
    outcome = run("replay", "--from", f"{ACME}:3")
    assert (outcome.code, outcome.err) == (1, f"sleepctl: the log of partition {ACME} ends at {ACME}:2\n")


def test_a_kafka_that_does_not_answer_is_one_line(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit status 1."""

    async def away(_topic: str) -> None:
        raise TopicReadError("Kafka at broker:9092 does not answer")

    monkeypatch.setattr(installation.reader, "bounds", away)
    outcome = run("replay")
    assert (outcome.code, outcome.err) == (1, "sleepctl: Kafka at broker:9092 does not answer\n")


def test_an_explanation_shows_the_records_the_event_and_six_steps(run: Run, installation: Installation) -> None:
    """For people, in this order."""
    applied(installation, (10 * SECOND, breaker("half_open")))
    outcome = run("replay", "--explain", f"{ACME}:2:0")
    assert outcome.code == 0, outcome.err
    labels = [line[:15].strip() for line in outcome.out.splitlines()[1:]]
    assert [label for label in labels if label] == [
        "before", "event", "1 clock", "2 expirations", "3 rules", "4 event", "5 decision", "6 deadline", "after",
    ]  # fmt: skip
    assert outcome.out.startswith(f"{ACME}:2:0, tenant acme, 2026-11-22T08:07:27.992Z, as recorded\n")
    assert "freeze (decided freeze) since 2026-11-22T08:07:17.992Z, breaker payments@1" in outcome.out
    assert f"freeze to deep at 2026-11-22T08:07:27.992Z: breaker payments@1 ({ACME}:2:0)" in outcome.out
    assert "deep: operation op-1" in outcome.out


def test_an_explanation_as_json_has_the_same(run: Run) -> None:
    """The steps are numbered."""
    document = document_of(run, "--explain", f"{ACME}:0:0")
    assert (document["transition"], document["tenant"], document["before"]) == (f"{ACME}:0:0", "acme", None)
    assert [step["step"] for step in document["steps"]] == [1, 2, 3, 4, 5, 6]
    assert document["after"]["state"] == "freeze"


def test_an_explanation_of_what_would_have_been(
    run: Run, installation: Installation, deep_at_most: str, floor: str
) -> None:
    """Under other rules, from the event on or from earlier on; under a policy of its tenant."""
    applied(installation, (10 * SECOND, breaker("half_open")))
    which = ("--explain", f"{ACME}:2:0")
    document = document_of(run, *which, "--rules", deep_at_most)
    assert document["before"]["state"] == "deep"
    document = document_of(run, *which, "--rules", deep_at_most, "--from", f"{ACME}:0")
    assert (document["before"]["state"], document["before"]["since"]) == ("deep", NOW)
    assert "under the given rules or policy" in run("replay", *which, "--rules", deep_at_most).out
    document = document_of(run, *which, "--policy", floor, "--tenant", "acme")
    assert document["after"]["policy"]["floor"] == "light"
    outcome = run("replay", *which, "--policy", floor, "--tenant", "bolt")
    assert (outcome.code, outcome.err) == (2, f"sleepctl: {ACME}:2 is an event of tenant acme\n")


def test_what_is_no_event_of_a_tenant_is_not_explained(run: Run, installation: Installation) -> None:
    """New rules, a record that nobody can read, and the end of the log."""
    applied(installation, (SECOND, rules({})), (SECOND, {"specversion": "0"}))
    for offset, code, why in (
        (2, 2, "has new rules; explain the transition of a tenant under them"),
        (3, 2, "is no event, but a dead letter: "),
        (4, 1, f"the log of partition {ACME} ends at {ACME}:4"),
    ):
        outcome = run("replay", "--explain", f"{ACME}:{offset}:0")
        assert (outcome.code, why in outcome.err) == (code, True), outcome.err


def test_an_event_whose_record_before_is_not_kept_is_not_explained(run: Run, installation: Installation) -> None:
    """The states topic has only the record that it made."""
    installation.kafka.log(TOPICS.events, ACME).trim(1)
    states = installation.kafka.log(TOPICS.states, ACME)
    states.trim(states.end - 1)
    outcome = run("replay", "--explain", f"{ACME}:1:0")
    assert (outcome.code, "before it is not kept" in outcome.err) == (1, True)


def test_rows_that_come_behind_the_others_are_read(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that lost its partition appended them late; they are on a later page of the topic."""
    applied(installation, (10 * SECOND, breaker("half_open")))
    rows = installation.kafka.log(TOPICS.transitions, ACME)
    late = rows.records.pop(0)
    rows.append([Output(late.key, late.value, late.headers)])
    read = installation.reader.read

    async def pages(topic: str, *arguments: Any) -> AsyncGenerator[list[SourceRecord], None]:  # noqa: ANN401 - as `read`
        async for page in read(topic, *arguments):
            for record in page:
                yield [record]

    monkeypatch.setattr(installation.reader, "read", pages)
    document = document_of(run, "--to", f"{ACME}:2")
    assert document["audit"] == {"matched": 2, "different": 0, "tenants": [], "examples": []}


def test_a_position_without_a_record_is_not_explained(run: Run, installation: Installation) -> None:
    """Transactions leave such offsets."""
    installation.kafka.log(TOPICS.events, ACME).skip()
    outcome = run("replay", "--explain", f"{ACME}:2:0")
    assert (outcome.code, outcome.err) == (2, f"sleepctl: the log has no event at {ACME}:2\n")


def test_an_event_on_which_our_code_fails_is_told(run: Run) -> None:
    """It changed nothing in the replay. The audit has its row, so the command fails."""
    with failing_at(0, module="worker.recovery.what_if.scenario"):
        outcome = run("replay")
    assert outcome.code == 1
    assert "our own code failed on 1 events, which changed nothing" in outcome.out
    assert f"  {ACME}:0:0  acme  in the audit" in outcome.out


def test_long_lists_are_cut_for_people(run: Run, installation: Installation, deep_at_most: str) -> None:
    """`--json` has them all, or the first thousand changes."""
    names = [name for name in (f"t-{number}" for number in range(400)) if partition_of(name, 8) == ACME][:30]
    applied(installation, *((SECOND, breaker("open", tenant=name)) for name in names))
    out = run("replay", "--rules", deep_at_most).out
    assert "31 tenants would have been different" in out
    assert "… and 11 more; `--json` lists them" in out
    assert "… and 42 more; `--json` lists them" in out
    document = document_of(run, "--rules", deep_at_most)
    assert (len(document["different"]), len(document["changes"])) == (31, 62)
    states = installation.kafka.log(TOPICS.states, ACME)
    states.append([Output(name.encode(), None) for name in names])
    out = run("replay").out
    assert "inexact: 30 tenants" in out
    assert "  t-" in out
    assert "begins without a record" in out
    assert "… and 10 more; `--json` lists them" in out
