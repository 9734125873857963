"""The specification is the one contract: each citation of it leads to a heading that is there."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.unit.headings import anchors

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "reference" / "specification.md"
_CITATION: Final = re.compile(r"specification\.md#([\w-]+)")
_OWN_LINK: Final = re.compile(r"\]\(#([\w-]+)\)")
_FOLDERS: Final = ("api", "deploy", "docs", "schemas", "sleepctl", "tests", "worker")
_SUFFIXES: Final = frozenset({".py", ".md", ".lua", ".rego"})


def citations() -> list[tuple[str, str]]:
    """Return each file that cites the specification, with the anchor that it cites."""
    return [
        (str(path.relative_to(ROOT)), anchor)
        for folder in _FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in _SUFFIXES and path != Path(__file__)
        for anchor in _CITATION.findall(path.read_text(encoding="utf-8"))
    ]


def test_each_citation_leads_to_a_heading() -> None:
    """In code, tests and pages."""
    cited = citations()
    assert len(cited) > 20
    known = anchors(PAGE.read_text(encoding="utf-8"))
    assert [f"{path}: #{anchor}" for path, anchor in cited if anchor not in known] == []


def test_each_link_within_the_specification_leads_to_a_heading() -> None:
    """Its table of contents has every section."""
    page = PAGE.read_text(encoding="utf-8")
    linked = set(_OWN_LINK.findall(page))
    assert linked - anchors(page) == set()


@pytest.mark.parametrize(
    ("heading", "anchor"), [("## The fold", "the-fold"), ("# `a` & b", "a--b"), ("### Two-part", "two-part")]
)
def test_anchors_are_those_of_the_pages_as_they_are_shown(heading: str, anchor: str) -> None:
    """Else a citation that leads nowhere would pass."""
    assert anchors(heading) == {anchor}
