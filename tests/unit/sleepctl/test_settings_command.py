"""`sleepctl settings`."""

import json

import pytest

from schemas.settings import Settings
from sleepctl.commands.settings import MASK
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import REQUIRED

FORMATS = "cloudevents, resilience4j, opossum, gobreaker, envoy, hystrix, alertmanager"


def test_lists_every_variable_with_its_default_and_meaning(run: Run) -> None:
    """The list is the code's, so none can be forgotten."""
    listed = json.loads(run("settings", "--json", **REQUIRED).out)
    assert [entry["name"] for entry in listed] == [
        *(f"SLEEP_{field.upper()}" for field in Settings.model_fields),
        "SLEEP_URL",
        "SLEEP_TOKEN",
    ]
    assert all(entry["meaning"] for entry in listed)
    assert next(entry for entry in listed if entry["name"] == "SLEEP_PARTITIONS")["default"] == 8


def test_works_where_required_variables_are_missing_and_marks_them(run: Run) -> None:
    """It is the command that one calls to learn what is missing."""
    outcome = run("settings")
    assert outcome.code == 1
    assert outcome.err == "sleepctl: settings: SLEEP_KAFKA_BOOTSTRAP: missing; SLEEP_REDIS_URL: missing\n"
    assert "SLEEP_KAFKA_BOOTSTRAP (required)  ! missing" in outcome.out
    assert "SLEEP_JWT_JWKS (default none)\n" in outcome.out
    assert 'SLEEP_RATE_LIMITS (default {"*":"600/minute",' in outcome.out


def test_shows_what_is_set(run: Run) -> None:
    """A value that holds is shown as it was given."""
    assert "SLEEP_PARTITIONS (default 8) = 32\n" in run("settings", SLEEP_PARTITIONS="32", **REQUIRED).out


def test_names_what_is_wrong_with_a_value(run: Run) -> None:
    """The reason stands beside the variable."""
    outcome = run("settings", "--json", SLEEP_PARTITIONS="0", **REQUIRED)
    assert outcome.code == 1
    listed = json.loads(outcome.out)
    wrong = {entry["name"]: entry["problem"] for entry in listed if entry["problem"]}
    assert list(wrong) == ["SLEEP_PARTITIONS"]
    assert "must be at least 1" in wrong["SLEEP_PARTITIONS"]


def test_a_wrong_entry_of_a_list_is_told_by_its_variable_and_place(run: Run) -> None:
    """In the same words as a process that does not start."""
    given = {"SLEEP_INGRESS": '[{"topic": "a", "format": "xml"}]'}
    message = f'settings: SLEEP_INGRESS: at [0].format: must be one of {FORMATS} (example: [{{"topic": "payments"}}])'
    assert run("settings", **given, **REQUIRED).err == f"sleepctl: {message}\n"
    assert run("worker", **given, **REQUIRED).err == f"sleepctl: {message} (`sleepctl settings` lists them all)\n"


def test_a_good_environment_is_a_success(run: Run) -> None:
    """The client's variables and those of the tests belong to it; a token is masked."""
    outcome = run("settings", SLEEP_URL="http://api", SLEEP_TOKEN="hunter6", SLEEP_TEST_SERVICES="embedded", **REQUIRED)
    assert (outcome.code, outcome.err) == (0, "")
    assert "SLEEP_URL (default http://127.0.0.1:8080) = http://api\n" in outcome.out
    assert f"SLEEP_TOKEN (default none) = {MASK}\n" in outcome.out


def test_a_service_link_is_no_setting_and_no_fault(run: Run) -> None:
    """Kubernetes writes them for Services that are called `sleep-api` and the like."""
    outcome = run("settings", SLEEP_API_PORT="tcp://10.96.0.17:8080", SLEEP_API_SERVICE_HOST="10.96.0.17", **REQUIRED)
    assert outcome.code == 0
    assert "SLEEP_API_PORT (default 8080)\n" in outcome.out
    assert outcome.err == (
        "sleepctl: warning: service links are ignored (`enableServiceLinks: false` keeps them out): "
        "SLEEP_API_PORT, SLEEP_API_SERVICE_HOST\n"
    )


def test_a_variable_that_nothing_reads_is_unknown(run: Run) -> None:
    """A misspelled name would else be a default that nobody meant; its value may be a secret."""
    outcome = run("settings", SLEEP_REDIS_URLL="redis://:hunter7@store", **REQUIRED)
    assert outcome.code == 1
    assert outcome.err == "sleepctl: settings: SLEEP_REDIS_URLL: unknown; is SLEEP_REDIS_URL meant?\n"
    assert "hunter7" not in outcome.out


@pytest.mark.parametrize("missing", ["SLEEP_KAFKA_SASL_USERNAME", "SLEEP_KAFKA_SASL_PASSWORD"])
def test_what_sasl_needs_is_missed(run: Run, missing: str) -> None:
    """As a worker would miss it."""
    given = {"SLEEP_KAFKA_SASL_USERNAME": "me", "SLEEP_KAFKA_SASL_PASSWORD": "x"}
    del given[missing]
    outcome = run("settings", SLEEP_KAFKA_SECURITY_PROTOCOL="SASL_SSL", **given, **REQUIRED)
    assert (outcome.code, outcome.err) == (1, f"sleepctl: settings: {missing}: missing, SASL needs it\n")


def test_a_certificate_that_cannot_be_read_is_wrong(run: Run) -> None:
    """As a worker would say."""
    given = {"SLEEP_KAFKA_SECURITY_PROTOCOL": "SSL", "SLEEP_KAFKA_SSL_CERTFILE": "/nowhere/x.pem"}
    outcome = run("settings", **given, **REQUIRED)
    message = "SLEEP_KAFKA_SSL_CERTFILE: the file cannot be read: No such file or directory"
    assert (outcome.code, outcome.err) == (1, f"sleepctl: settings: {message}\n")


def test_never_shows_a_secret(run: Run) -> None:
    """Secrets are masked in both forms, and so is a password inside a URL."""
    environment = REQUIRED | {
        "SLEEP_KAFKA_SASL_PASSWORD": "hunter3",
        "SLEEP_KAFKA_SSL_PASSWORD": "hunter4",
        "SLEEP_OPA_URL": "http://opa:hunter5@policy:8181",
    }
    for arguments in (("settings",), ("settings", "--json")):
        out = run(*arguments, **environment).out
        assert "hunter" not in out
        assert f"http://opa:{MASK}@policy:8181" in out
        assert out.count(MASK) == 4
