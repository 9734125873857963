"""The vectors for readers of states, as they are in the checkout."""

from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

VECTORS: Final[dict[str, Any]] = from_json(
    (Path(__file__).resolve().parents[2] / "schemas" / "json" / "reader.vectors.json").read_bytes()
)


def named(case: dict[str, Any]) -> str:
    """Return the name of a case."""
    return str(case["name"])
