"""The console's files as they are served: what may run, what is loaded, and that all of it is ours or pinned."""

import gzip
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from api.app import Wiring, create_app
from api.console import files as console_files
from api.console.files import FOLDER, MOST_BYTES, START, read_files
from api.console.routes import CONTENT_SECURITY_POLICY
from api.openapi.document import document_of
from tests.unit.api.application import ApiOverFakes

VENDORED: Final[list[dict[str, Any]]] = json.loads((FOLDER.parent / "vendored.json").read_text())
FILES: Final = read_files()
RUNBOOKS: Final = sorted(name for name in FILES if name.startswith("runbooks/"))
OURS: Final = sorted(name for name in FILES if not name.startswith(("vendor/", "runbooks/")))
_IMPORT: Final = re.compile(
    r"""(?:^|[;}\s])(?:import|export)\b[^"'`;]*?\bfrom\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)"""
)
_REFERENCE: Final = re.compile(r"""\b(?:src|href)="([^"]+)\"""")
FIRST_LOAD_BYTES: Final = 150_000


def _text(name: str) -> str:
    return FILES[name].plain.decode()


async def test_the_start_page_has_the_headers_of_the_contract(api: ApiOverFakes) -> None:
    """Without a token; the policy is the specification's, to the letter."""
    api.client.headers.pop("Authorization")
    response = await api.client.get("/console/")
    assert response.status_code == 200
    assert response.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", sorted(FILES))
async def test_each_file_is_served_with_its_type(api: ApiOverFakes, name: str) -> None:
    """Byte for byte, plain or compressed."""
    for coding in ("identity", "gzip"):
        response = await api.client.get(f"/console/{name}", headers={"Accept-Encoding": coding})
        assert response.content == FILES[name].plain
        assert response.headers.get("content-encoding", "identity") == coding
        assert response.headers["content-type"] == console_files.MEDIA_TYPES[Path(name).suffix]
        assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert response.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    ("codings", "packed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("GZIP", True), ("gzip;q=0", False), ("gzip;q=0.0", False), ("", False)],
)
async def test_a_file_is_compressed_for_who_can_read_it(api: ApiOverFakes, codings: str, *, packed: bool) -> None:
    """A client that refuses gzip gets the plain bytes."""
    response = await api.client.get("/console/app.js", headers={"Accept-Encoding": codings})
    assert ("content-encoding" in response.headers) is packed


async def test_an_unchanged_file_is_not_sent_again(api: ApiOverFakes) -> None:
    """304 for the tag of the same bytes, weak or in a list; 200 for any other."""
    for coding in ("identity", "gzip"):
        headers = {"Accept-Encoding": coding}
        etag = (await api.client.get("/console/app.js", headers=headers)).headers["etag"]
        for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            again = await api.client.get("/console/app.js", headers=headers | {"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert (await api.client.get("/console/app.js", headers=headers | {"If-None-Match": '"x"'})).status_code == 200


async def test_head_is_answered_as_get_without_a_body(api: ApiOverFakes) -> None:
    """As everywhere."""
    response = await api.client.head("/console/app.js", headers={"Accept-Encoding": "identity"})
    assert (response.status_code, response.headers["content-length"]) == (200, str(len(FILES["app.js"].plain)))


async def test_the_folder_is_found_without_its_slash(api: ApiOverFakes) -> None:
    """By a relative address, so that a proxy may put a path before it."""
    response = await api.client.get("/console")
    assert (response.status_code, response.headers["location"]) == (308, "console/")


@pytest.mark.parametrize("path", ["nothing.js", "vendored.json", "../files.py", "static/app.js", "vendor/"])
async def test_what_is_no_file_of_it_is_not_found(api: ApiOverFakes, path: str) -> None:
    """No path leads out of the folder: only names that were read at the start are known."""
    request = api.client.build_request("GET", "http://api/")
    request.url = httpx.URL(scheme="http", host="api", raw_path=f"/console/{path}".encode())
    response = await api.client.send(request)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_the_console_can_be_switched_off(api: ApiOverFakes) -> None:
    """Then its paths are unknown, and nothing else changes."""
    app = create_app(Wiring(api.services, console=False))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        for path in ("/console", "/console/", "/console/app.js"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/healthz")).status_code == 200
    assert document_of(app) == document_of(api.app)


def test_the_vendored_files_are_what_their_packages_hold() -> None:
    """Each has its version, licence and hash; a replaced word is named, and without it the hash is the package's."""
    names = {f"vendor/{one['file']}" for one in VENDORED}
    assert names == {name for name in FILES if name.startswith("vendor/") and name.endswith(".js")}
    licences = _text("vendor/LICENSES.txt")
    for one in VENDORED:
        served = FILES[f"vendor/{one['file']}"].plain
        assert sha256(served).hexdigest() == one["served_sha256"], one["file"]
        original = served
        for old, new in one["replaced"].items():
            assert original.count(new.encode()) == 1
            original = original.replace(new.encode(), old.encode())
        assert sha256(original).hexdigest() == one["sha256"], one["file"]
        assert re.fullmatch(r"\d+\.\d+\.\d+", one["version"])
        assert one["licence"] in ("MIT", "Apache-2.0")
        assert f"==== {one['package']} ====" in licences


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_each_import_is_a_file_of_the_console(name: str) -> None:
    """By a relative path: a bare name would need an import map, which is inline code."""
    for match in _IMPORT.finditer(_text(name)):
        target = match[1] or match[2]
        assert target.startswith(("./", "../")), f"{name}: {target}"
        assert (FOLDER / name).parent.joinpath(target).resolve().relative_to(FOLDER).as_posix() in FILES


@pytest.mark.parametrize("name", OURS)
def test_nothing_is_inline_and_nothing_is_loaded_from_elsewhere(name: str) -> None:
    """No address of another host, no handler or style in markup, nothing that makes code of text."""
    text = _text(name).replace("http://www.w3.org/2000/svg", "")
    assert "://" not in text
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "new Function",
        "document.write",
        "@import",
    ):
        assert forbidden not in text, f"{name}: {forbidden}"
    assert "localStorage" not in text
    # What is kept for the way to the issuer and back is no token. What is kept of a run is no list of tenants.
    assert text.count("sessionStorage") == (3 if name in ("io/oidc.js", "io/kept_run.js") else 0)
    assert "document.cookie" not in text
    if name.endswith(".html"):
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", text)
        assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""]
        for reference in _REFERENCE.findall(text):
            assert reference in FILES
    if name.endswith(".js"):
        # A style in a template would be refused by the policy, or hide that the policy is weak.
        assert not re.search(r"\sstyle=", text)


@pytest.mark.parametrize("name", RUNBOOKS)
def test_a_runbook_leads_only_to_pages_of_the_console(name: str) -> None:
    """It has no script, no style of its own, and each of its links has a place."""
    text = _text(name)
    assert not re.search(r"<script|<style|\son\w+=|\sstyle=|<img|javascript:", text)
    for reference in re.findall(r' (?:href|src)="([^"]*)"', text):
        path, _, anchor = reference.partition("#")
        target = (FOLDER / name).parent.joinpath(path).resolve().relative_to(FOLDER).as_posix() if path else name
        target = START if target == "." else target
        assert target in FILES, reference
        assert not anchor or target == START or f'id="{anchor}"' in _text(target), reference


def test_each_finding_of_health_leads_to_a_place_of_a_runbook() -> None:
    """Also after a change of its title."""
    pages = re.findall(r'"([\w-]+\.html)(?:#([^"]+))?"', _text("screens/health.js"))
    assert len(pages) >= 12
    for page, anchor in pages:
        assert f"runbooks/{page}" in RUNBOOKS
        assert not anchor or f'id="{anchor}"' in _text(f"runbooks/{page}"), anchor


def test_the_first_load_is_small() -> None:
    """All files together, compressed, but for the pages that a reader opens by themselves."""
    size = sum(len(file.packed) for name, file in FILES.items() if not name.endswith(".txt") and name not in RUNBOOKS)
    print(f"console: {len(FILES)} files, {size} bytes compressed of at most {FIRST_LOAD_BYTES}")
    assert size <= FIRST_LOAD_BYTES
    assert all(gzip.decompress(file.packed) == file.plain for file in FILES.values())


def test_files_that_are_incomplete_or_too_large_are_refused(tmp_path: Path) -> None:
    """At the start, not at the first reader; what is of no known kind is left out."""
    (tmp_path / "app.js").write_text("")
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(ValueError, match=re.escape("has no index.html")):
        read_files(tmp_path)
    (tmp_path / "index.html").write_text("<!doctype html>")
    assert set(read_files(tmp_path)) == {"app.js", "index.html"}
    (tmp_path / "app.js").write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(ValueError, match="more than 1000000"):
        read_files(tmp_path)
