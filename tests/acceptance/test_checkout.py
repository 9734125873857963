"""`make` in checkouts that were moved, cut short or cannot be written to: the real Makefile, a small project."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What pip asks of a project to install it where it is: nothing that would have to be fetched.
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1"
"""
BACKEND = """\
import pathlib, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    files = {
        "small.pth": str(pathlib.Path.cwd()),
        "small-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n",
        "small-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: small\\nRoot-Is-Purelib: true\\n"
        "Tag: py3-none-any\\n",
        "small-1.dist-info/entry_points.txt": "[console_scripts]\\nsleepctl = small:main\\n",
    }
    with zipfile.ZipFile(pathlib.Path(folder) / "small-1-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr("small-1.dist-info/RECORD", "".join(f"{name},,\\n" for name in files))
    return "small-1-py3-none-any.whl"
"""
# Programs that `make install` and `make run` call, beside Python; a PATH of these alone hides all others.
PROGRAMS = ("sh", "awk", "cksum", "cut", "pwd", "test")

pytestmark = [pytest.mark.timeout(400), pytest.mark.skipif(shutil.which("make") is None, reason="needs make")]


def small_checkout(folder: Path) -> Path:
    """Put a project that prints where its code is, the real Makefile and what it calls into a folder."""
    (folder / "requirements").mkdir(parents=True)
    for name in ("Makefile", "requirements/environment.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements" / "dev.lock").write_text("# nothing\n")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "small.py").write_text("def main():\n    print('code in', __file__)\n")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose path has a space and a quote."""
    return small_checkout(tmp_path / "it's a checkout")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with its environment."""
    folder = small_checkout(tmp_path_factory.mktemp("installed") / "a checkout")
    output = make(folder, "install")
    assert "making .venv with Python 3." in output
    assert "there is none" in output
    return folder


@pytest.fixture
def locked(checkout: Path) -> Iterator[Path]:
    """The checkout, which nobody may change."""
    folders = [checkout, checkout / "requirements"]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield checkout
    for folder in folders:
        folder.chmod(stat.S_IRWXU)


def make(folder: Path, *arguments: str, status: int = 0, variables: Mapping[str, str] | None = None) -> str:
    """Run `make` as a shell of a user's does, and return what it said."""
    # Without its capabilities, root is bound by the permissions of files as others are.
    bound = [shutil.which("setpriv") or "setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
    given = {"PATH": os.environ["PATH"], **(variables or {})}
    done = subprocess.run(
        [*bound, "make", "--no-print-directory", *arguments],
        cwd=folder,
        env=given,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def runs_from(folder: Path, variables: Mapping[str, str] | None = None) -> bool:
    """Tell whether what `make run` starts is the code of this folder."""
    return f"code in {folder / 'small.py'}" in make(folder, "run", variables=variables)


def test_a_second_run_makes_nothing(installed: Path) -> None:
    """Nor does it say anything."""
    assert make(installed, "install") == ""
    assert runs_from(installed)


def test_a_moved_checkout_has_its_environment_made_anew(installed: Path, tmp_path: Path) -> None:
    """Its programs name the Python of the old place; where that is still there, they would run the old code."""
    moved = tmp_path / "moved"
    shutil.copytree(installed, moved, symlinks=True)
    assert "made in another folder" in make(moved, "install")
    assert runs_from(moved)
    assert runs_from(installed)


@pytest.mark.parametrize("left", ["folder", "without-pip", "packages"])
def test_an_environment_that_was_cut_short_is_made_anew(checkout: Path, left: str) -> None:
    """Before there was a Python in it, before there was pip, and while packages were installed."""
    environment = checkout / ".venv"
    if left == "folder":
        (environment / "bin").mkdir(parents=True)
    elif left == "without-pip":
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        (environment / ".installing").touch()
    assert "making .venv" in make(checkout, "install")
    assert runs_from(checkout)


def test_a_changed_lock_is_installed_into_the_environment_that_is_there(installed: Path) -> None:
    """And whatever a person has put there stays."""
    (installed / ".venv" / "own").touch()
    (installed / "requirements" / "dev.lock").write_text("# something else\n")
    assert "making" not in make(installed, "install")
    assert (installed / ".venv" / "own").exists()
    assert make(installed, "install") == ""


def test_a_checkout_that_cannot_be_written_to_uses_the_cache_folder(locked: Path, tmp_path: Path) -> None:
    """For the environment, and for all that the tools put beside it; without one, it says what to do."""
    cache = tmp_path / "a cache"
    assert f"making {cache}" in make(locked, "install", variables={"XDG_CACHE_HOME": str(cache)})
    assert runs_from(locked, variables={"XDG_CACHE_HOME": str(cache)})
    assert not (locked / ".venv").exists()
    assert "make VENV=" in make(locked, "install", status=2)


def test_an_environment_whose_python_became_another_is_made_anew(checkout: Path) -> None:
    """An upgrade of the machine leaves a Python that finds no packages; the stamp says that all is well."""
    make(checkout, "install")
    packages = next((checkout / ".venv" / "lib").glob("python3.*"))
    packages.rename(packages.with_name("python3.0"))
    assert "the Python in it cannot be used" in make(checkout, "install")
    assert runs_from(checkout)


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    """`VENV` may name it by mistake: one elsewhere, or one of the checkout's own."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work").touch()
    for folder, work in (
        (str(tmp_path / "mine"), tmp_path / "mine" / "work"),
        ("requirements", checkout / "requirements" / "dev.lock"),
    ):
        for target in ("install", "clean"):
            assert "something else than an environment" in make(checkout, target, f"VENV={folder}", status=2)
            assert work.exists()


def test_an_empty_folder_name_is_told_as_such(checkout: Path) -> None:
    """The checkout can be written to, and there is a HOME."""
    assert "VENV is empty" in make(checkout, "install", "VENV=", status=2)


def test_a_machine_without_a_right_python_is_told_which(checkout: Path, tmp_path: Path) -> None:
    """A name on the PATH may be a shim that refuses to run, or a Python that is too old."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(shutil.which(name) or name)
    (programs / "make").symlink_to(shutil.which("make") or "make")
    for name, text in {"python3": "exit 1", "python": "no such version >&2; exit 127"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    output = make(checkout, "install", status=2, variables={"PATH": str(programs)})
    assert "no Python 3.11 to 3.13 on the PATH" in output


def test_a_python_without_ensurepip_is_told_the_package(checkout: Path, tmp_path: Path) -> None:
    """As that of Debian and Ubuntu is, where nobody added it."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "ensurepip.py").write_text("raise ImportError('not here')\n")
    output = make(checkout, "install", status=2, variables={"PYTHONPATH": str(hook)})
    assert "has no ensurepip" in output
    assert "apt install python3." in output


def test_help_says_what_is_needed(checkout: Path) -> None:
    """Beside the targets, each with a sentence."""
    output = make(checkout, "help")
    assert "Python 3.11 to 3.13" in output
    assert "  test " in output
