"""The specification lists all kinds that the code has: of causes, and of claims."""

import re
from pathlib import Path
from typing import get_args

import pytest

from schemas.domain.claim import CauseKind, Source

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "specification.md"


@pytest.mark.parametrize(("heading", "names"), [("### Causes", CauseKind), ("## Claims", Source)])
def test_the_table_under_a_heading_has_every_kind(heading: str, names: object) -> None:
    """And no other kind."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2].partition("\n#")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(listed) == sorted(get_args(names))
