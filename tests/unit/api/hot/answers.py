"""The recorded answers: one line of JSON a case, in the order of the table."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

Answer = dict[str, Any]
"""What came of a case, as JSON."""
FILE: Final = Path(__file__).parent / "answers.jsonl"
RECORDING: Final = pytest.StashKey[dict[str, Answer]]()
"""Where a run that records keeps the answers."""


@cache
def recorded() -> dict[str, Answer]:
    """Return the answers by the names of their cases."""
    return {line.pop("case"): line for line in map(json.loads, FILE.read_text(encoding="utf-8").splitlines())}


def write(answers: Mapping[str, Answer]) -> None:
    """Replace the recorded answers."""
    lines = [json.dumps({"case": name} | answer, ensure_ascii=False) + "\n" for name, answer in answers.items()]
    FILE.write_text("".join(lines), encoding="utf-8")
