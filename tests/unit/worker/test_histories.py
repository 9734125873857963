"""Histories that were recorded once are reproduced by every release: records, states, audit and operations."""

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic_core import from_json

from schemas.domain.claim import NOT_YET_MADE, CauseKind
from schemas.domain.record import unpack
from schemas.redis.command_memory import unpack as unpack_operation
from tests.histories import history
from tests.histories.__main__ import main
from tests.support.batches import apply_all
from worker.fold.written import claims_of

RECORDED = history.recorded()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("every", [1, 7, 10_000])
def test_a_recorded_history_is_reproduced_byte_for_byte(path: Path, every: int) -> None:
    """With any batch boundaries; packed bytes where the layout is still the one of then."""
    log, expected = history.read(path)
    result = history.fold(log, range(0, len(log), every))
    for name, layout in (("records", "layout"), ("operations", "operations_layout")):
        # A recording from before operations had a layout of their own is of their first.
        if result.pop(layout) != expected.pop(layout, 1):
            del expected[name], result[name]
    # One by one, since the difference of two long documents says nothing.
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert result[name] == value, name


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_was_packed_then_is_read_now(path: Path) -> None:
    """A newer version reads the older layout: the same records and operations come of it."""
    log, expected = history.read(path)
    # Since layout 2 of operations a commit removes those that are forgotten.
    lane = apply_all(log, forgets=expected.get("operations_layout", 1) > 1)
    assert {tenant: unpack(bytes.fromhex(packed), lane.rules) for tenant, packed in expected["records"].items()} == {
        tenant: lane.record(tenant) for tenant in lane.packed
    }
    recorded = {
        tuple(key.split("/", 1)): unpack_operation(bytes.fromhex(packed), 0, *key.split("/", 1))
        for key, packed in expected["operations"].items()
    }
    assert recorded.keys() == lane.operations.keys()
    for (tenant, operation_id), operation in lane.commands().items():
        lives = operation.lives_in(claims_of(lane.record(tenant)))
        then = recorded[tenant, operation_id]
        assert operation == (then if lives else then.without_texts())


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
    assert kinds >= {"breaker", "operation", "cancel", "mode", "pin", "policy"}
    assert kinds >= {"expired", "pin_ended", "hold_ended", "rules"}
    codes = {row["code"] for row in rows if row["code"]}
    assert codes >= {"clock_skew", "stale_event", "ttl_out_of_range", "not_running", "version_conflict"}
    assert codes >= {"duplicate_operation", "idempotency_conflict"}
    assert outcome["tombstones"], "no tenant has retired"
    assert len(outcome["records"]) >= history.TENANTS // 2
    assert len(outcome["dead_letters"]) == types["undecodable"]


def test_every_kind_of_cause_is_in_some_recorded_history() -> None:
    """A new kind needs a new history (`python -m tests.histories NAME SEED`); none of the old ones is changed."""
    rows = [from_json(value) for path in RECORDED for _, value, _ in history.read(path)[1]["transitions"]]
    kinds = {row["cause"]["kind"] for row in rows if row["cause"]}
    assert kinds == set(get_args(CauseKind)) - NOT_YET_MADE


def test_a_recorded_history_holds_renewed_modes_and_pins() -> None:
    """With another reason, and with none: beside the first `since` stand the renewal's own actor and reason."""
    log, _ = history.read(history.HERE / "renewals.json")
    seen = set()
    before: dict[tuple[str, str], Any] = {}
    for output in apply_all(log, range(len(log))).states:
        state = from_json(output.value or b"null")
        for claim in [] if state is None or "claims" not in state else state["claims"]:
            first = before.get((state["tenant"], claim["key"]), {"since": None, "state": None, "reason": None})
            renewed = (first["since"], first["state"]) == (claim["since"], claim["state"])
            if renewed and claim["actor"] == "x" and claim["reason"] != first["reason"]:
                seen.add((claim["source"], claim["reason"]))
            before[state["tenant"], claim["key"]] = claim
    assert {source for source, _ in seen} == {"mode", "pin"}
    assert {reason for _, reason in seen} == {"as before", None}


def _type(value: bytes) -> str:
    try:
        document: Any = from_json(value)
    except ValueError:
        return "undecodable"
    return str(document["type"]) if isinstance(document, dict) and "type" in document else "undecodable"


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
