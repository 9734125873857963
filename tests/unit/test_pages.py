"""The examples on the pages are run, each link leads somewhere, and the files that CONTRIBUTING names exist."""

import doctest
import re
from pathlib import Path
from typing import Final

import pytest

from tests.unit.headings import anchors

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(page for page in (ROOT / "docs").rglob("*.md") if ">>> " in page.read_text(encoding="utf-8"))
LINKING: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tests" / "README.md"])
_FENCED: Final = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"\]\((?!https?://)([^)\s#]*)(?:#([^)\s]+))?\)")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_an_example_gives_what_its_page_shows(page: Path) -> None:
    """Fences are no part of an example: an empty line ends it."""
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 0
    assert failed == 0, "see the report above"


@pytest.mark.parametrize("page", LINKING, ids=_name)
def test_each_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    """Links to other sites are left out."""
    links: list[tuple[str, str]] = _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))
    dead = [f"{path}#{anchor}" for path, anchor in links if not _leads_somewhere(page, path, anchor)]
    assert not dead, "no such file or heading; correct the link"


def _leads_somewhere(page: Path, path: str, anchor: str) -> bool:
    """Return whether a link's file is there and, in a Markdown page, its heading."""
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target.read_text(encoding="utf-8"))


def test_contributing_names_files_and_folders_that_there_are() -> None:
    """A reader goes where it points."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:api|deploy|docs|schemas|sleepctl|tests|worker)/[\w./-]+)`", text)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []
