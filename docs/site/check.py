"""Checks that Zensical does not make: each link of the built files, the navigation, files of other sites."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

_SOURCES: Final = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
_FETCHED_LINKS: Final = frozenset({"stylesheet", "preload", "preconnect", "icon"})
_IN_STYLE: Final = re.compile(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)")
_NOT_FOUND: Final = "404.html"
"""A page with absolute links, for a server that shows it at any address."""


class _Page(HTMLParser):
    """The links, the anchors and the fetched files of one built page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag in _SOURCES and _SOURCES[tag] in found:
            self.fetched.add(found[_SOURCES[tag]])
        if tag == "link" and _FETCHED_LINKS & set(found.get("rel", "").split()):
            self.fetched.add(found.get("href", ""))
        if tag == "a" and "href" in found:
            self.links.add(found["href"])


def faults(folder: Path) -> list[str]:
    """Return what is wrong with a built site: links that lead nowhere, and files that a browser gets from elsewhere."""
    folder = folder.resolve()
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = [
        f"{path.relative_to(folder)}: {fault}"
        for path, page in pages.items()
        if path.name != _NOT_FOUND
        for fault in _faults_of(folder, path, page, pages)
    ]
    for path in sorted(folder.rglob("*.css")):
        strangers = _IN_STYLE.findall(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: fetches {address}" for address in strangers]
    return found


def _faults_of(folder: Path, path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    for address in sorted(page.links | page.fetched):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            if address in page.fetched and parts.scheme != "data":
                yield f"fetches {address}"
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_relative_to(folder):
            yield f"{address} leads out of the site"
            continue
        if target.is_dir():
            target /= "index.html"
        if not target.exists():
            yield f"{address} leads to no file"
        elif parts.fragment and target in pages and address in page.links:
            fragment = unquote(parts.fragment)
            if fragment not in pages[target].anchors:
                yield f"{address} leads to no heading"


def unplaced(navigation: list[str], pages: set[str]) -> list[str]:
    """Return what is wrong with a navigation: entries without a page, pages without an entry or with two."""
    return [
        *(f"the navigation names {path}, and there is no such page" for path in navigation if path not in pages),
        *(
            f"{path} is not in the navigation: give it a place in docs/site/zensical.toml"
            for path in sorted(pages - set(navigation))
        ),
        *(
            f"{path} is in the navigation twice"
            for path in sorted({each for each in navigation if navigation.count(each) > 1})
        ),
    ]
