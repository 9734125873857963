"""The Mermaid diagrams of the pages, as pictures that the site shows in place of their source.

A browser would need a program of another site to draw them. So `python -m docs.site.draw` draws each diagram once, in
light and in dark colours, and the pictures are kept in the repository. Their names follow from the source.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from docs.site.pages import ROOT, SiteError, pages

FOLDER: Final = "docs/images/diagrams"
SCHEMES: Final = ("light", "dark")
_DIAGRAM: Final = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PLOT: Final = re.compile(r"^!\[[^\]]*\]\([./]*/(images/plots/[\w-]+\.svg)\)$", re.MULTILINE)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(source: str, scheme: str) -> str:
    """Return the file name of a diagram's picture."""
    return f"{sha256(source.encode()).hexdigest()[:16]}-{scheme}.svg"


def sources(root: Path = ROOT) -> Iterator[str]:
    """Yield the source of each diagram of the pages."""
    for page in pages(root):
        yield from _DIAGRAM.findall((root / page).read_text(encoding="utf-8"))


def with_pictures(text: str, source: str, root: Path = ROOT) -> str:
    """Return a page with pictures as the site shows them: of each diagram one, and each plot as a part of the page.

    A plot has the colours of the page around it only if it is a part of the page.

    Args:
        text: the Markdown of the page.
        source: the path of the page in the repository; links in the result are relative to it.
        root: the repository.

    Raises:
        SiteError: if a diagram has no pictures.
    """

    def picture(match: re.Match[str]) -> str:
        headings = _HEADING.findall(text[: match.start()])
        words = f"Diagram: {headings[-1].replace('`', '')}" if headings else "Diagram"
        return " ".join(_image(match[1], scheme, words, source, root) for scheme in SCHEMES)

    def plot(match: re.Match[str]) -> str:
        return f"<div>{(root / 'docs' / match[1]).read_text(encoding='utf-8').strip()}</div>"

    return _PLOT.sub(plot, _DIAGRAM.sub(picture, text))


def _image(diagram: str, scheme: str, words: str, source: str, root: Path) -> str:
    file = f"{FOLDER}/{name_of(diagram, scheme)}"
    if not (root / file).is_file():
        raise SiteError(f"{source}: a diagram has no picture; run `make diagrams`. It begins: {diagram[:60]!r}")
    up = "../" * source.count("/")
    return f"![{words}]({up}{file}#only-{scheme})"


def strays(present: Iterable[str], root: Path = ROOT) -> set[str]:
    """Return the names of pictures whose diagram no page has."""
    wanted = {name_of(source, scheme) for source in sources(root) for scheme in SCHEMES}
    return set(present) - wanted
