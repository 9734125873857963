"""Kafka's jars from Maven, kept in a cache folder.

Run as a script it prints their folder; that needs the standard library only.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

POM = Path(__file__).with_name("kafka") / "pom.xml"
DOWNLOAD_TIMEOUT_SECONDS = 300.0


def kafka_version() -> str:
    """The broker's version, as the pom names it."""
    match = re.search(r"<kafka\.version>(.+?)</kafka\.version>", POM.read_text())
    if match is None:
        raise ValueError(f"no kafka.version in {POM}")
    return match[1]


def cache_folder() -> Path:
    """`SLEEP_TEST_CACHE`, else `somabrain-sleep` in the user's cache folder.

    Raises NotADirectoryError where the user has no home.
    """
    if folder := os.environ.get("SLEEP_TEST_CACHE"):
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "somabrain-sleep"
    except RuntimeError:
        raise NotADirectoryError("this user has no home folder; name a folder with SLEEP_TEST_CACHE") from None


def kafka_jars() -> Path:
    """The folder with all jars of the broker, fetched by Maven where it is missing.

    Raises FileNotFoundError without `mvn`, CalledProcessError or TimeoutExpired when it fails, and another OSError
    where the cache folder cannot be written to.
    """
    return maven_jars(POM, f"kafka-{kafka_version()}")


def maven_jars(pom: Path, name: str, goals: Sequence[str] = ("dependency:copy-dependencies",)) -> Path:
    """The folder with all jars that a pom names, fetched by Maven where it is missing.

    Raises FileNotFoundError without `mvn`, CalledProcessError or TimeoutExpired when it fails.
    """
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder.parent))
    try:
        fresh.chmod(0o755)
        command = ["mvn", "--quiet", "--batch-mode", f"--file={pom}", *goals]
        subprocess.run(
            [*command, f"-DoutputDirectory={fresh}"],
            check=True,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_SECONDS,
        )
        fresh.rename(folder)
    except OSError:
        # Another session was faster: its folder is as good as ours.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{kafka_jars()}\n")
    except subprocess.CalledProcessError as error:
        sys.exit(f"maven failed:\n{error.stdout}{error.stderr}")
