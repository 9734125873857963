"""The `promtool` program of Prometheus: from the PATH, else built once by Go and kept in a cache folder.

Debian has it in the package `prometheus`. A build takes minutes, because Prometheus brings the clients of Kubernetes.
`promtool/go.mod` pins the version, and `go.sum` the content of each module.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).with_name("promtool")
PACKAGE = "github.com/prometheus/prometheus/cmd/promtool"
BUILD_TIMEOUT_SECONDS = 900.0


def built_promtool(cache: Path) -> Path:
    """The program in the cache folder, built by `go build` where it is missing.

    Who comes while another builds it waits. Raises FileNotFoundError without `go`, CalledProcessError or TimeoutExpired
    when it fails.
    """
    digest = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    folder = cache / f"promtool-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "promtool"
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            # Without the service discovery of clouds, which no test needs. Go renames what it has linked to its place.
            flags = ["-tags=remove_all_sd", "-trimpath", "-mod=readonly", "-ldflags=-s -w", f"-o={program}"]
            command = ["go", "build", *flags, PACKAGE]
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                cwd=MODULE,
                timeout=BUILD_TIMEOUT_SECONDS,
                env={**os.environ, "CGO_ENABLED": "0"},
            )
    return program


def find_promtool(cache: Path) -> Path:
    """The program on the PATH, else the built one; raises as `built_promtool` does."""
    program = shutil.which("promtool")
    return Path(program) if program else built_promtool(cache)
