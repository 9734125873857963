"""Generated files: deterministic, complete, and known to be stale when they are."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from jsonschema import Draft202012Validator

from docs.generator.__main__ import main
from docs.generator.files import ROOT, generated, stale, write
from docs.generator.json_schemas import DOCUMENTS, EVENTS, MEANINGS, json_schema
from schemas.settings import Settings

MODELS = EVENTS | DOCUMENTS


def test_every_generated_file_of_the_project_is_fresh() -> None:
    """`make generate` writes them."""
    assert stale(ROOT) == []


@pytest.mark.parametrize("name", MODELS)
def test_every_schema_is_a_json_schema_without_unknown_words(name: str) -> None:
    """Bounds in pydantic's own spelling would be ignored by every validator."""
    schema = json_schema(name, MODELS[name])
    Draft202012Validator.check_schema(schema)
    assert not re.search(r'"(ge|gt|le|lt|strict)":', generated()[f"schemas/json/{name}.v1.schema.json"])
    assert schema["$id"] == f"urn:somabrain-sleep:schema:{name}.v1"


@pytest.mark.parametrize("name", [*EVENTS, "policy-document", "rules-document"])
def test_every_field_that_people_and_emitters_write_has_a_meaning(name: str) -> None:
    """But for the sets of a schedule, which are numbers with names."""
    schema = json_schema(name, MODELS[name])
    parts: dict[str, Any] = {"": schema, **schema.get("$defs", {})}
    for part, each in parts.items():
        if part not in ("Parameters", "ScheduleDocument"):
            assert all(field.get("description") for field in each["properties"].values()), part


def test_no_meaning_is_left_over() -> None:
    """A field that went takes its meaning along."""
    text = "".join(generated().values())
    assert [name for name, meaning in MEANINGS.items() if meaning not in text] == []


def test_the_settings_page_has_every_variable() -> None:
    """With `(required)` where there is no default."""
    page = generated()["docs/reference/settings.md"]
    assert all(f"`SLEEP_{name.upper()}`" in page for name in Settings.model_fields)
    assert page.count("(required)") == sum(field.is_required() for field in Settings.model_fields.values())


def test_the_states_page_draws_the_tables_of_the_code() -> None:
    """Breaker states to depths under the built-in rule."""
    page = generated()["docs/reference/states.md"]
    for arrow in ("open --> freeze", "forced_open --> freeze", "half_open --> light", "closed --> active"):
        assert f"    {arrow}\n" in page
    assert "| `pin` | `pin` |" in page


def test_no_generated_file_names_this_machine() -> None:
    """The output is a function of the code alone."""
    assert not any(str(ROOT) in text for text in generated().values())
    assert generated() == generated()


def test_a_stale_a_missing_and_a_stray_file_are_found_and_repaired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` names them and changes nothing; without it they are written or removed."""
    write(tmp_path)
    assert main(["--check"], tmp_path) == 0
    folder = tmp_path / "schemas/json"
    (folder / "timer.v1.schema.json").unlink()
    (folder / "mode.v1.schema.json").write_text("{}")
    (folder / "gone.v1.schema.json").write_text("{}")
    wrong = [f"schemas/json/{name}.v1.schema.json" for name in ("gone", "mode", "timer")]
    capsys.readouterr()

    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "stale, run `make generate`:\n" + "".join(f"  {name}\n" for name in wrong)
    assert stale(tmp_path) == wrong

    assert main([], tmp_path) == 0
    assert capsys.readouterr().out == "".join(f"written: {name}\n" for name in wrong)
    assert stale(tmp_path) == []
    assert not (folder / "gone.v1.schema.json").exists()


def test_it_runs_as_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m docs.generator --check`, as `make check` has it."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["generator", "--check"])
        patch.delitem(sys.modules, "docs.generator.__main__")
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("docs.generator", run_name="__main__")
    assert ended.value.code == 0


def test_the_wheel_holds_no_generator() -> None:
    """It is a tool of the checkout; the JSON Schemas that it writes are shipped."""
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {"schemas/names.py", "schemas/json/timer.v1.schema.json"} <= files
    assert not [name for name in files if name.startswith("docs/") or "generat" in name]


def test_the_generator_loads_no_worker_before_it_writes() -> None:
    """It needs the schemas and the API. Only the page of the command line loads the commands, when it is written."""
    code = "import sys, docs.generator.files; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert not {"worker", "faust", "aiohttp"} & set(loaded.split())
