"""Makes the environment in which the Makefile runs everything: `python requirements/environment.py FOLDER`.

It is made of `dev.lock` and of this checkout, which is installed so that its files are used where they are. That ties
it to the checkout's place: one that was moved, copied, or cut short while it was made is made anew. Where nothing has
changed, this takes a tenth of a second. Needs a Python 3.11 to 3.13 and its standard library only.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "dev.lock"
USABLE = "import pip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
# What has this name in the checkout is ours, whatever it holds: a copy of it may have been cut short.
OWN = ".venv"
# Written last, and what an environment is without while it is being made.
STAMP = ".installed"
UNFINISHED = ".installing"
# Settings of a person's own pip that would put the packages somewhere else.
ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "PYTHONHOME", "PYTHONPATH")


def main(folder: str) -> None:
    """Make the environment in a folder, or leave it as it is.

    Args:
        folder: where; a path relative to the checkout, or an absolute one.
    """
    if not folder and os.access(ROOT, os.W_OK):
        fail("VENV is empty; leave it out, or name a folder: make VENV=/a/folder/of/yours …")
    if not folder:
        fail(f"{ROOT} cannot be written to and there is no HOME; name a folder: make VENV=/a/folder/of/yours …")
    environment = ROOT / folder
    if is_current(environment):
        return
    try:
        # A lock on what is read anyway, for the checkout may be read-only: two `make` at once make one environment.
        with LOCK.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_current(environment):
                install(environment, folder)
    except KeyboardInterrupt:
        fail(f"{folder} was cut short; the next make makes it anew")
    except OSError as error:
        fail(f"{folder} cannot be made: {error}; name another folder: make VENV=/a/folder/of/yours …")


def contents() -> str:
    """Return what a finished environment of this checkout has in its stamp: the checkout's place, and what it wants."""
    wanted = hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes())
    return f"{ROOT}\n{wanted.hexdigest()}\n"


def is_current(environment: Path) -> bool:
    """Tell whether an environment was finished for this checkout, in this place, and can still be used."""
    stamp = environment / STAMP
    return stamp.is_file() and stamp.read_text() == contents() and is_usable(environment)


def is_usable(environment: Path) -> bool:
    """Tell whether an environment's Python is there, is one of those wanted, and finds its packages.

    It does not where the machine's Python was taken away, or became another version.
    """
    python = str(environment / "bin" / "python")
    try:
        return subprocess.run([python, "-c", USABLE], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def install(environment: Path, name: str) -> None:
    """Install what is wanted, into an environment made anew where the one that is there cannot be used."""
    finding = why_anew(environment)
    if finding is not None:
        create(environment, name, finding)
    (environment / UNFINISHED).touch()
    (environment / STAMP).unlink(missing_ok=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for options in (
        ["--require-hashes", "--requirement", str(LOCK)],
        ["--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)],
    ):
        clean = {key: value for key, value in os.environ.items() if key not in ELSEWHERE} | {"PIP_USER": "0"}
        if subprocess.run([*pip, *options], check=False, env=clean).returncode:
            fail(f"pip could not install {options[-1]} into {name}: see above; then try again")
    (environment / STAMP).write_text(contents())
    (environment / UNFINISHED).unlink()


def why_anew(environment: Path) -> str | None:
    """Return why an environment has to be made anew; None where packages can be added to it."""
    if not environment.is_dir():
        return "there is none"
    if (environment / UNFINISHED).exists():
        return "the last one was cut short while it was made"
    if not is_at_home(environment):
        return "the one there was made in another folder"
    return None if is_usable(environment) else "the Python in it cannot be used"


def is_at_home(environment: Path) -> bool:
    """Tell whether an environment was made where it is: its programs name their Python by its whole path."""
    try:
        lines = (environment / "bin" / "activate").read_text().splitlines()
    except OSError:
        return False
    return any(line.strip() == f"VIRTUAL_ENV={quote}{environment}{quote}" for line in lines for quote in ("", "'", '"'))


def create(environment: Path, name: str, finding: str) -> None:
    """Make an empty environment with the Python that runs this, in the place of what is there."""
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian and Ubuntu leave it out of their Python
    except ImportError:
        fail(
            f"{sys.executable} ({version}) has no ensurepip, which makes environments; on Debian and Ubuntu: "
            f"apt install python{version.rpartition('.')[0]}-venv"
        )
    sys.stdout.write(f"making {name} with Python {version}, since {finding}; this takes a minute or two\n")
    sys.stdout.flush()
    if environment.is_dir():
        ours = (STAMP, UNFINISHED, "pyvenv.cfg")
        if (
            environment != ROOT / OWN
            and any(environment.iterdir())
            and not any((environment / n).exists() for n in ours)
        ):
            fail(f"{name} is something else than an environment; name another folder: make VENV=…")
        shutil.rmtree(environment)
    environment.mkdir(parents=True)
    (environment / UNFINISHED).touch()
    # The Python of an environment that is being made anew may be the one that runs this: what it was made with stays.
    python = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run([python, "-m", "venv", str(environment)], check=False)
    if done.returncode:
        fail(f"{python} could not make {name}: see above")


def fail(finding: str) -> NoReturn:
    """End with one line."""
    sys.exit(f"environment: {finding}")


if __name__ == "__main__":
    main(sys.argv[1])
