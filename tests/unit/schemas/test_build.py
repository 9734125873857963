"""Which build runs."""

import platform
from types import SimpleNamespace

import pytest

from schemas.build_info import build

EDITABLE = '{"url": "file:///src", "dir_info": {"editable": true}}'
COMMIT = '{"url": "https://git.example/sleep", "vcs_info": {"vcs": "git", "commit_id": "0af7651"}}'
WHEEL = '{"url": "file:///sleep.whl", "archive_info": {"hash": "sha256=2cf2"}}'
UNHASHED = '{"url": "file:///sleep.whl", "archive_info": {}}'


@pytest.mark.parametrize(
    ("noted", "source"),
    [(EDITABLE, "source"), (COMMIT, "0af7651"), (WHEEL, "sha256=2cf2"), (UNHASHED, "archive"), (None, "index")],
)
def test_a_build_is_what_the_package_was_installed_from(
    monkeypatch: pytest.MonkeyPatch, noted: str | None, source: str
) -> None:
    """As the installer noted it."""
    installed = SimpleNamespace(version="1.2.3", read_text=lambda _: noted)
    monkeypatch.setattr("schemas.build_info.distribution", lambda _: installed)
    assert build() == {"version": "1.2.3", "python": platform.python_version(), "build": source}
