"""How the documentation site is collected and checked; `make site` builds it, and a test of Chromium looks at it."""

from pathlib import Path
from typing import Final

import pytest

from docs.generator.files import generated
from docs.generator.openapi import openapi
from docs.site.build import collect
from docs.site.check import faults, unplaced
from docs.site.diagrams import FOLDER, SCHEMES, name_of, sources, strays, with_pictures
from docs.site.pages import ROOT, Links, SiteError, pages
from sleepctl.ui.examples import EXAMPLES

DIAGRAM: Final = "flowchart LR\n    a --> b\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two pages in docs/, a picture, a file that is no page, and all pages outside docs/."""
    for page in pages():
        if not page.startswith("docs/"):
            _write(tmp_path / page, "# A page\n")
    _write(tmp_path / "docs" / "README.md", "# Home\n\n[one](how-to/one.md#part) [file](../schemas/a.json)\n")
    _write(
        tmp_path / "docs" / "how-to" / "one.md",
        "# One\n\n## Part\n\n[home](../README.md) [all](..) ![p](../images/p.png)\n",
    )
    _write(tmp_path / "docs" / "images" / "p.png", "")
    _write(tmp_path / "schemas" / "a.json", "{}")
    return tmp_path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_links_lead_to_where_pages_and_files_are_in_the_site(repository: Path, tmp_path: Path) -> None:
    """A README is the index of its folder; a file that is no page is copied."""
    folder = tmp_path / "collected"
    collect(folder, repository)
    assert "[one](how-to/one.md#part) [file](files/schemas/a.json)" in (folder / "index.md").read_text()
    assert "[home](../index.md) [all](../index.md) ![p](../images/p.png)" in (folder / "how-to" / "one.md").read_text()
    assert (folder / "files" / "schemas" / "a.json").read_text() == "{}"
    assert (folder / "images" / "p.png").exists()
    assert (folder / "project" / "contributing.md").exists()


def test_a_link_in_a_fence_stays_as_it_is(repository: Path) -> None:
    """It is an example."""
    text = "```text\n[x](nothing.md)\n```\n"
    assert Links(repository).changed("docs/README.md", text) == text


@pytest.mark.parametrize("link", ["[x](nothing.md)", "![x](images/gone.png)", "[x](how-to)"])
def test_a_link_to_nothing_or_to_a_folder_without_a_page_is_named(repository: Path, link: str) -> None:
    """With its page."""
    with pytest.raises(SiteError, match=r"docs/README\.md"):
        Links(repository).changed("docs/README.md", link)


@pytest.mark.parametrize("text", ["1. a\n\n   b\n", "1. a\n   - b\n", "- a\n\n  ```sh\n  b\n  ```\n"])
def test_a_list_that_the_site_would_show_otherwise_is_refused(repository: Path, tmp_path: Path, text: str) -> None:
    """Python-Markdown wants four spaces."""
    _write(repository / "docs" / "how-to" / "one.md", text)
    with pytest.raises(SiteError, match=r"one\.md: indent by 4 spaces"):
        collect(tmp_path / "collected", repository)


def test_a_diagram_becomes_a_picture_for_each_scheme(repository: Path) -> None:
    """Named after its section."""
    page = f"# A\n\n## The `way`\n\n```mermaid\n{DIAGRAM}```\n"
    with pytest.raises(SiteError, match="make diagrams"):
        with_pictures(page, "docs/how-to/one.md", repository)
    for scheme in SCHEMES:
        _write(repository / FOLDER / name_of(DIAGRAM, scheme), "<svg/>")
    shown = with_pictures(page, "docs/how-to/one.md", repository)
    assert "```" not in shown
    for scheme in SCHEMES:
        assert f"![Diagram: The way](../../{FOLDER}/{name_of(DIAGRAM, scheme)}#only-{scheme})" in shown


def test_a_plot_becomes_a_part_of_the_page(repository: Path) -> None:
    """So that it has the colours of the page."""
    _write(repository / "docs" / "images" / "plots" / "x.svg", "<svg>x</svg>\n")
    shown = with_pictures("a\n\n![x](../images/plots/x.svg)\n", "docs/how-to/one.md", repository)
    assert shown == "a\n\n<div><svg>x</svg></div>\n"


def test_each_diagram_of_the_pages_has_its_pictures_and_none_is_left_over() -> None:
    """`make diagrams` draws them."""
    present = {path.name for path in (ROOT / FOLDER).iterdir()}
    assert {name_of(source, scheme) for source in sources() for scheme in SCHEMES} <= present
    assert strays(present) == set()


def test_faults_of_a_built_site_are_named(tmp_path: Path) -> None:
    """Links without a file or a heading, and what a browser would fetch from elsewhere."""
    _write(
        tmp_path / "good.html", '<h2 id="a">A</h2><a href="#a">a</a><a href="https://x.example">x</a><a href=".">.</a>'
    )
    _write(tmp_path / "index.html", '<img src="good.html"><link rel="canonical" href="https://x.example/">')
    assert faults(tmp_path) == []
    _write(
        tmp_path / "bad.html",
        '<a href="gone.html">1</a><a href="good.html#b">2</a><script src="//x.example/a.js"></script>',
    )
    _write(tmp_path / "bad.css", "@import 'https://x.example/font'; a { b: url(https://x.example/p.png) }")
    assert faults(tmp_path) == [
        "bad.html: fetches //x.example/a.js",
        "bad.html: gone.html leads to no file",
        "bad.html: good.html#b leads to no heading",
        "bad.css: fetches https://x.example/font",
        "bad.css: fetches https://x.example/p.png",
    ]


def test_a_site_in_a_relative_folder_is_checked_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a link that leads out of it is refused, though there is a file."""
    _write(tmp_path / "outside.html", "")
    _write(tmp_path / "site" / "good.html", '<h2 id="a">A</h2><a href="#b">b</a><a href="../outside.html">o</a>')
    monkeypatch.chdir(tmp_path)
    assert faults(Path("site")) == [
        "good.html: #b leads to no heading",
        "good.html: ../outside.html leads out of the site",
    ]


def test_the_navigation_has_each_page_once() -> None:
    """A page that is not there, one that is missing, and one that is there twice."""
    assert unplaced(["a.md", "b.md"], {"a.md", "b.md"}) == []
    assert unplaced(["a.md", "gone.md", "a.md"], {"a.md", "b.md"}) == [
        "the navigation names gone.md, and there is no such page",
        "b.md is not in the navigation: give it a place in docs/site/zensical.toml",
        "a.md is in the navigation twice",
    ]


def test_the_generated_pages_have_each_request_and_each_command() -> None:
    """And each topic."""
    files = generated()
    http, cli, topics = (files[f"docs/reference/{name}.md"] for name in ("http", "cli", "topics"))
    for path, operations in openapi()["paths"].items():
        for method in set(operations) & {"get", "post", "put", "delete"}:
            assert f"`{method.upper()} {path}`" in http
    assert all(f"\n## sleepctl {name}\n" in cli for name in EXAMPLES)
    for topic in ("events", "states", "transitions", "breakers", "deadletter"):
        assert f"\n## sleep.{topic}\n" in topics


def test_the_plots_show_the_numbers_of_the_schedule() -> None:
    """In words too, for those who do not see them."""
    plot = generated()["docs/images/plots/schedule.svg"]
    assert "K 100, 60, 20, 1" in plot
    assert plot.count('class="bar"') == 24
