"""`sleepctl settings`."""

import json

from schemas.settings import Settings
from sleepctl.settings_command import MASK
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import REQUIRED


def test_lists_every_variable_with_its_default_and_meaning(run: Run) -> None:
    """The list is the code's, so none can be forgotten."""
    listed = json.loads(run("settings", "--json", **REQUIRED).out)
    assert [entry["name"] for entry in listed] == [f"SLEEP_{field.upper()}" for field in Settings.model_fields]
    assert all(entry["meaning"] for entry in listed)
    assert next(entry for entry in listed if entry["name"] == "SLEEP_PARTITIONS")["default"] == 8


def test_works_where_required_variables_are_missing_and_marks_them(run: Run) -> None:
    """It is the command that one calls to learn what is missing."""
    outcome = run("settings")
    assert outcome.code == 0
    assert "SLEEP_KAFKA_BOOTSTRAP (required)  ! missing" in outcome.out
    assert "SLEEP_JWT_JWKS (default none)\n" in outcome.out


def test_shows_what_is_set(run: Run) -> None:
    """A value that holds is shown as it was given."""
    assert "SLEEP_PARTITIONS (default 8) = 32\n" in run("settings", SLEEP_PARTITIONS="32", **REQUIRED).out


def test_names_what_is_wrong_with_a_value(run: Run) -> None:
    """The reason stands beside the variable."""
    listed = json.loads(run("settings", "--json", SLEEP_PARTITIONS="0", **REQUIRED).out)
    wrong = {entry["name"]: entry["problem"] for entry in listed if entry["problem"]}
    assert list(wrong) == ["SLEEP_PARTITIONS"]
    assert "greater than or equal to 1" in wrong["SLEEP_PARTITIONS"]


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
