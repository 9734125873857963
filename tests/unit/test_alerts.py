"""The alerts: each query asks for metrics that there are, each leads to a runbook, and each is tested both ways."""

import re
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.support.queries import series_of, wrong_parts
from tests.unit.headings import anchors

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy" / "prometheus"
RUNBOOK: Final = ROOT / "docs" / "runbooks" / "alerts.md"
PARTS: Final = ("You see", "It means", "Check", "Cure", "It worked when")
"""What each section of the runbook has, in this order."""
_REDRIVEN: Final = (
    "integration/test_deadletters.py::test_records_on_a_wrong_partition_are_redriven_in_order_to_the_right_one"
)
CURED_BY: Final = {
    "SleepLaneStopped": "integration/test_damage.py::test_a_state_from_the_future_of_the_log_is_named_and_repaired",
    "SleepPartitionWithoutOwner": (
        "acceptance/test_many_workers.py::test_two_workers_share_the_partitions_and_one_that_is_killed_returns"
    ),
    "SleepStandingPartition": (
        "faults/test_outages.py::test_an_outage_is_answered_with_503_and_both_processes_recover"
    ),
    "SleepRedisWentBack": "integration/test_aof.py::test_a_file_cut_within_a_command_is_a_rollback_and_heals",
    "SleepDeadLettersOfOwnCode": _REDRIVEN,
    "SleepDeadLetters": _REDRIVEN,
    "SleepMassSleep": (
        "integration/test_commands.py::test_new_rules_reach_a_sleeping_tenant_without_an_event_of_its_own"
    ),
    "SleepOpenEndedClaim": (
        "integration/test_prometheus.py::test_the_cure_of_an_open_ended_claim_ends_what_its_alert_sees"
    ),
    "SleepPolicyUnavailable": (
        "integration/test_opa.py::test_no_request_passes_while_opa_is_killed_and_service_returns"
    ),
    "SleepDependencyDown": "faults/test_outages.py::test_an_outage_is_answered_with_503_and_both_processes_recover",
    "SleepRedisNotADatabase": (
        "integration/test_prometheus.py::test_the_cure_of_a_redis_that_evicts_ends_what_its_alert_sees"
    ),
    "SleepProcessRestarts": (
        "acceptance/test_many_processes.py::test_requests_go_on_while_a_killed_child_is_started_again"
    ),
}
"""The test that runs what the cure asks of our programs. A rollback of a bad deploy is for people."""
CURED_BY_PEOPLE: Final = {
    "SleepLagRising": "more machines, or a slower emitter",
    "SleepFenceRefusals": "another installation is stopped",
    "SleepTimersLate": "clocks are synchronised, or a slow service is restored",
    "SleepPolicySlow": "OPA gets more processor time, or an earlier policy",
    "SleepPolicyRefusing": "a policy, an issuer or a client is corrected",
    "SleepNoApi": "an API is started, or the scrape configuration corrected",
    "SleepClockSkew": "the clock of an emitter is synchronised",
    "SleepConnectionsRefused": "a client is corrected, or a setting raised",
}
"""Alerts whose cure is outside this project, so no test runs it."""
_PART: Final = re.compile(r"^\*\*([^*:]+):\*\*(.*?)(?=^\*\*[^*:]+:\*\*|\Z)", re.MULTILINE | re.DOTALL)


class Rule(msgspec.Struct, rename={"for_": "for"}, forbid_unknown_fields=True):
    """An alert as Prometheus reads it."""

    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    for_: str = "0s"


class Group(msgspec.Struct, forbid_unknown_fields=True):
    """A group of alerts."""

    name: str
    rules: list[Rule]


class RuleFile(msgspec.Struct, forbid_unknown_fields=True):
    """The file of alerts."""

    groups: list[Group]


class Expectation(msgspec.Struct):
    """What a test expects of an alert at a time."""

    alertname: str
    eval_time: str
    exp_alerts: list[dict[str, Any]]


class Scenario(msgspec.Struct):
    """A test of the alerts."""

    name: str
    input_series: list[dict[str, str]]
    alert_rule_test: list[Expectation]


class Scenarios(msgspec.Struct):
    """The file of tests."""

    rule_files: list[str]
    tests: list[Scenario]


RULES: Final = [
    rule
    for group in msgspec.yaml.decode((FOLDER / "rules.yaml").read_bytes(), type=RuleFile).groups
    for rule in group.rules
]
SCENARIOS: Final = msgspec.yaml.decode((FOLDER / "rules_test.yaml").read_bytes(), type=Scenarios)
each_rule: Final = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.alert)


def sections(page: str) -> dict[str, str]:
    """Return the text below each heading of the second level."""
    _, *parts = re.split(r"^## ", page, flags=re.MULTILINE)
    return {title.strip(): text for title, _, text in (part.partition("\n") for part in parts)}


def parts_of(section: str) -> dict[str, str]:
    """Return the parts of a section of the runbook by their titles, in order."""
    return {title: text.strip() for title, text in _PART.findall(section)}


@each_rule
def test_an_alert_asks_for_metrics_that_there_are(rule: Rule) -> None:
    """Names, labels, and values of labels."""
    assert series_of(rule.expr)
    assert wrong_parts(rule.expr) == []


@each_rule
def test_an_alert_says_how_urgent_it_is_and_what_happened(rule: Rule) -> None:
    """With a link to what to do."""
    assert rule.labels.keys() == {"severity"}
    assert rule.labels["severity"] in {"critical", "warning"}
    assert rule.annotations.keys() == {"summary", "runbook_url"}


@each_rule
def test_the_link_of_an_alert_leads_to_its_runbook(rule: Rule) -> None:
    """To a page and a heading that are there."""
    page, _, anchor = rule.annotations["runbook_url"].partition("#")
    assert ROOT / page == RUNBOOK
    assert anchor == rule.alert.lower()
    assert anchor in anchors(RUNBOOK.read_text(encoding="utf-8"))


@each_rule
def test_a_runbook_leads_from_the_symptom_to_the_proof_of_the_cure(rule: Rule) -> None:
    """Its five parts, in this order; the checks are numbered."""
    parts = parts_of(sections(RUNBOOK.read_text(encoding="utf-8"))[rule.alert])
    assert tuple(parts) == PARTS
    assert all(parts.values())
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", parts["Check"], re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_each_section_of_the_runbook_is_that_of_an_alert() -> None:
    """In the order of the alerts, so that none is left over."""
    assert list(sections(RUNBOOK.read_text(encoding="utf-8"))) == [rule.alert for rule in RULES]


@each_rule
def test_an_alert_is_tested_both_ways(rule: Rule) -> None:
    """What fires it, and what looks similar and does not; `tests/integration/test_prometheus.py` runs the scenarios."""
    fires = [
        bool(expected.exp_alerts)
        for scenario in SCENARIOS.tests
        for expected in scenario.alert_rule_test
        if expected.alertname == rule.alert
    ]
    assert set(fires) == {True, False}


def test_each_cure_is_run_by_a_test_or_is_for_people() -> None:
    """A test that is renamed must be found again."""
    assert CURED_BY.keys() | CURED_BY_PEOPLE.keys() == {rule.alert for rule in RULES}
    assert not CURED_BY.keys() & CURED_BY_PEOPLE.keys()
    gone = [
        test
        for test in CURED_BY.values()
        for path, _, name in [test.partition("::")]
        if f"def {name}" not in (ROOT / "tests" / path).read_text(encoding="utf-8")
    ]
    assert gone == []


@pytest.mark.parametrize("scenario", SCENARIOS.tests, ids=lambda scenario: scenario.name)
def test_a_scenario_has_series_that_the_processes_export(scenario: Scenario) -> None:
    """Else it would prove nothing about them."""
    assert [wrong for item in scenario.input_series for wrong in wrong_parts(item["series"])] == []


def test_the_scenarios_are_of_the_alerts_that_are_shipped() -> None:
    """Of this file, and of no alert that is gone."""
    assert SCENARIOS.rule_files == ["rules.yaml"]
    tested = {expected.alertname for scenario in SCENARIOS.tests for expected in scenario.alert_rule_test}
    assert tested == {rule.alert for rule in RULES}


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sleep_worker_gone > 0", "no metric has the series sleep_worker_gone"),
        ("sleep_worker_timer_lag_seconds > 0", "no metric has the series sleep_worker_timer_lag_seconds"),
        ("sleep_worker_events > 0", "no metric has the series sleep_worker_events"),
        ('sleep_worker_lanes{status="stopped"}', "sleep_worker_lanes has no label status"),
        ('sleep_worker_lanes{state="halted"}', "sleep_worker_lanes: the label state is never halted"),
        ("sum by (tenant) (sleep_worker_lanes)", "no metric of the query has the label tenant"),
    ],
)
def test_a_query_for_something_else_is_noticed(query: str, wrong: str) -> None:
    """Each part of it."""
    assert wrong_parts(query) == [wrong]


def test_a_runbook_without_a_part_is_noticed() -> None:
    """The parts are found by their titles."""
    assert tuple(parts_of("\n**You see:** a\n\n**Cure:**\n\n- b\n")) == ("You see", "Cure")
