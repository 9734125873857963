"""Which files are pages of the site, where each goes, and how links between them change."""

import re
from pathlib import Path, PurePosixPath
from posixpath import relpath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# Pages outside docs/: the first folders of the site are those of docs/, so these get one of their own.
_OUTSIDE: Final = {
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "README.md": "project/readme.md",
    "SECURITY.md": "project/security.md",
    "clients/node/README.md": "project/node-client.md",
    "clients/python/README.md": "project/python-client.md",
    "tests/README.md": "project/tests.md",
}
_FILES: Final = "files"
"""The folder of the site for files of the repository that a page links to."""
_FENCED: Final = re.compile(r"(^[ ]*```.*?^[ ]*```[ ]*$)", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


class SiteError(Exception):
    """The site cannot be built, or is not what it has to be."""


def pages(root: Path = ROOT) -> dict[str, str]:
    """Return each page of the site: its path in the repository, and its path in the site."""
    inside = {
        f"docs/{path.relative_to(root / 'docs').as_posix()}": _index(path.relative_to(root / "docs").as_posix())
        for path in sorted((root / "docs").rglob("*.md"))
    }
    return inside | _OUTSIDE


def _index(path: str) -> str:
    """Return the path of a page in the site: the README of a folder is the folder's own page."""
    place = PurePosixPath(path)
    return str(place.with_name("index.md")) if place.name == "README.md" else path


class Links:
    """Changes links between files of the repository into links between files of the site.

    Attributes:
        files: files that are no pages and have a link, by their path in the site.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._pages = pages(root)
        self.files: dict[str, Path] = {}

    def changed(self, source: str, text: str) -> str:
        """Return the text of a page as the site needs it.

        Args:
            source: the path of the page in the repository.
            text: its Markdown.

        Raises:
            SiteError: if a link leads to no file.
        """
        parts = _FENCED.split(text)
        return "".join(part if place % 2 else self._links(source, part) for place, part in enumerate(parts))

    def _links(self, source: str, text: str) -> str:
        def change(match: re.Match[str]) -> str:
            return self._target(source, match[1]) + (match[2] or "")

        return _LINK.sub(change, text)

    def _target(self, source: str, link: str) -> str:
        path = (self._root / source).parent / link
        if not path.exists():
            raise SiteError(f"{source}: no file {link}")
        target = path.resolve().relative_to(self._root.resolve())
        if path.is_dir():
            target /= "README.md"
            if not (self._root / target).is_file():
                raise SiteError(f"{source}: {link} is a folder without a README.md; link to a file")
        here = PurePosixPath(self._pages[source]).parent
        return relpath(self._place(target.as_posix()), here)

    def _place(self, target: str) -> str:
        """Return where a file of the repository is in the site."""
        if target in self._pages:
            return self._pages[target]
        place = target.removeprefix("docs/") if target.startswith("docs/images/") else f"{_FILES}/{target}"
        self.files[place] = self._root / target
        return place
