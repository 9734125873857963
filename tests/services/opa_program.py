"""The `opa` program: from the PATH, else built once by Go and kept in a cache folder.

Needs the standard library only, since images are built before there is an environment.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

OPA_VERSION = "1.22.2"
BUILD_TIMEOUT_SECONDS = 600.0


def built_opa(cache: Path) -> Path:
    """The program in the cache folder, built by `go install` where it is missing: static, so that it runs anywhere.

    Who comes while another builds it waits. Raises FileNotFoundError without `go`, CalledProcessError or TimeoutExpired
    when it fails.
    """
    folder = cache / f"opa-{OPA_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "opa"
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            # Go writes the program beside its place and renames it: what is there is whole.
            command = ["go", "install", f"github.com/open-policy-agent/opa@v{OPA_VERSION}"]
            environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder)}
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=BUILD_TIMEOUT_SECONDS, env=environment
            )
    return program


def find_opa(cache: Path) -> Path:
    """The program on the PATH, else the built one; raises as `built_opa` does."""
    program = shutil.which("opa")
    return Path(program) if program else built_opa(cache)
