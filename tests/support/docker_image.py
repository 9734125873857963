"""The command of the Docker engine, and the image of this checkout."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

DOCKER: Final = shutil.which("docker") or ""
ROOT: Final = Path(__file__).resolve().parents[2]


def docker(*arguments: str, seconds: float = 60) -> str:
    """Return what a command of the engine prints; fails if it fails."""
    done = subprocess.run([DOCKER, *arguments], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


@cache
def built_image() -> str:
    """Return the image of this checkout: built on `SLEEP_TEST_PYTHON_IMAGE`, else on the public base."""
    base, certificates = os.environ.get("SLEEP_TEST_PYTHON_IMAGE"), os.environ.get("PIP_CERT")
    options = [f"--build-arg=BASE={base}"] if base else []
    options += [f"--build-arg=PIP_CERT={certificates}"] if certificates else []
    docker(
        *("build", "--quiet", "--network=host", *options),
        *("--file", str(ROOT / "deploy/docker/Dockerfile"), "--tag", "somabrain-sleep:test", str(ROOT)),
        seconds=800,
    )
    return "somabrain-sleep:test"
