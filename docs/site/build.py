"""Collects the pages of the site in one folder, has Zensical build them, and checks the result."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from docs.site.check import faults, unplaced
from docs.site.diagrams import with_pictures
from docs.site.pages import ROOT, Links, SiteError, pages

_HERE: Final = Path(__file__).parent
_CONFIGURATION: Final = _HERE / "zensical.toml"
_BUILD_SECONDS: Final = 300
_DECISIONS: Final = "decisions/index.md"
_BLOCK: Final = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_NESTED: Final = re.compile(r"^ {1,3}(?:[-*]|\d+\.) .*|^ {1,3}```.*|(?<=\n\n) {1,3}\S.*", re.MULTILINE)


def build(folder: Path, root: Path = ROOT) -> int:
    """Build the site and return its number of pages.

    Args:
        folder: where it goes; what it holds is replaced. The pages are collected in a folder beside it.
        root: the repository.

    Raises:
        SiteError: if a link leads nowhere, a page is not in the navigation, a diagram has no picture, Zensical reports
            anything, or the site would fetch a file of another site.
    """
    source = folder.with_name(f"{folder.name}-source")
    for old in (folder, source):
        shutil.rmtree(old, ignore_errors=True)
    configuration = _with_decisions(_CONFIGURATION.read_text(encoding="utf-8"), root)
    if wrong := unplaced(navigation_of(configuration), set(pages(root).values())):
        raise SiteError("\n".join(wrong))
    collect(source / "pages", root)
    (source / "zensical.toml").write_text(configuration, encoding="utf-8")
    _run_zensical(source)
    (source / "site").rename(folder)
    if wrong := faults(folder):
        raise SiteError("\n".join(wrong))
    return len(list(folder.rglob("*.html")))


def collect(folder: Path, root: Path = ROOT) -> None:
    """Write all pages into a folder, with links and diagrams as the site needs them, and the files that they link to.

    Raises:
        SiteError: if a page links to a file that does not exist, has a diagram without a picture, or has a list that
            the site would show otherwise than the repository does.
    """
    links = Links(root)
    for source, place in pages(root).items():
        text = (root / source).read_text(encoding="utf-8")
        if wrong := _NESTED.search(_BLOCK.sub("", text)):
            raise SiteError(f"{source}: indent by 4 spaces what belongs to a list item: {wrong[0].strip()}")
        page = folder / place
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(links.changed(source, with_pictures(text, source, root)), encoding="utf-8")
    for place, file in links.files.items():
        copy = folder / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    shutil.copyfile(_HERE / "site.css", folder / "site.css")


def navigation_of(configuration: str) -> list[str]:
    """Return the path of each page that a configuration has in its navigation."""
    return list(_paths(tomllib.loads(configuration)["project"]["nav"]))


def _paths(entry: Any) -> Iterator[str]:  # noqa: ANN401 - as TOML has it
    match entry:
        case str():
            yield entry
        case list():
            for each in entry:
                yield from _paths(each)
        case dict():
            yield from _paths(list(entry.values()))
        case _:
            raise SiteError(f"{_CONFIGURATION.name}: the navigation has {entry!r}, which is no path, list or title")


def _with_decisions(configuration: str, root: Path) -> str:
    """Return the configuration with each decision in the navigation; a new one needs no change there."""
    names = sorted(path.name for path in (root / "docs" / "decisions").glob("[0-9]*.md"))
    listed = "".join(f', "decisions/{name}"' for name in names)
    return configuration.replace(f'"{_DECISIONS}"', f'"{_DECISIONS}"{listed}')


def _run_zensical(source: Path) -> None:
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(  # noqa: S603 - a command of our own
        command, cwd=source, check=False, capture_output=True, text=True, timeout=_BUILD_SECONDS
    )
    if done.returncode:
        raise SiteError(f"{done.stdout}{done.stderr}")
