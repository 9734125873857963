"""Histories that were recorded once are reproduced by every release: records, states, audit and operations."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json

from schemas.operation import OperationRecord
from schemas.record import LAYOUT, unpack
from tests.histories import history
from tests.histories.__main__ import main
from tests.unit.worker.batches import apply_all

RECORDED = history.recorded()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("every", [1, 7, 10_000])
def test_a_recorded_history_is_reproduced_byte_for_byte(path: Path, every: int) -> None:
    """With any batch boundaries; packed bytes where the layout is still the one of then."""
    log, expected = history.read(path)
    found = history.fold(log, range(0, len(log), every))
    if expected["layout"] != LAYOUT:
        for outcome in (found, expected):
            del outcome["records"], outcome["operations"], outcome["layout"]
    # One by one, since the difference of two long documents says nothing.
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_was_packed_then_is_read_now(path: Path) -> None:
    """A newer version reads the older layout: the same records and operations come of it."""
    log, expected = history.read(path)
    lane = apply_all(log)
    assert {tenant: unpack(bytes.fromhex(packed), lane.rules) for tenant, packed in expected["records"].items()} == {
        tenant: lane.record(tenant) for tenant in lane.packed
    }
    assert {key: OperationRecord.unpack(bytes.fromhex(packed)) for key, packed in expected["operations"].items()} == {
        "/".join(key): OperationRecord.unpack(packed) for key, packed in lane.operations.items()
    }


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_history_holds_something_of_everything(path: Path) -> None:
    """Else it would prove little."""
    log, outcome = history.read(path)
    types = Counter(_type(item.value or b"") for item in log)
    assert types.keys() >= {
        *(f"sleep.{name}.v1" for name in ("breaker", "operation", "cancel", "mode", "policy", "rules", "timer")),
        "undecodable",
    }
    assert types["sleep.rules.v1"] == 2
    rows = [from_json(value) for _, value, _ in outcome["transitions"]]
    kinds = {row["cause"]["kind"] for row in rows if row["kind"] == "transition"}
    assert kinds >= {"breaker", "operation", "mode", "pin", "policy", "expired", "pin_ended", "hold_ended", "rules"}
    codes = {row["code"] for row in rows if row["code"]}
    assert codes >= {"clock_skew", "stale_event", "ttl_out_of_range", "not_running", "version_conflict"}
    assert codes >= {"duplicate_operation", "idempotency_conflict"}
    assert outcome["tombstones"], "no tenant has retired"
    assert len(outcome["records"]) >= history.TENANTS // 2
    assert len(outcome["dead_letters"]) == types["undecodable"]


def _type(value: bytes) -> str:
    try:
        found: Any = from_json(value)
    except ValueError:
        return "undecodable"
    return str(found["type"]) if isinstance(found, dict) and "type" in found else "undecodable"


def test_a_history_is_the_same_for_the_same_seed_and_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever wants another one gives it another name."""
    monkeypatch.setattr("tests.histories.__main__.HERE", tmp_path)
    assert main(["first", "7"]) == 0
    assert main(["second", "7"]) == 0
    first = tmp_path / "first.json"
    assert first.read_bytes() == (tmp_path / "second.json").read_bytes()
    before = first.stat().st_mtime_ns
    assert main(["first", "8"]) == 1
    assert first.stat().st_mtime_ns == before
    assert "never changed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["name"], ["name", "x"], ["../name", "1"], ["name", "1", "2"]])
def test_what_is_to_be_recorded_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And its seed given, since it is written down."""
    assert main(arguments) == 2
    assert "NAME SEED" in capsys.readouterr().err
