"""Programs that Go builds: from the PATH or the environment, else built once and kept in a cache folder.

A wheel brings `helm` on x86-64. `go/NAME/go.mod` pins the version of each, and `go.sum` the content of every module. A
build takes minutes of processor time, because both programs bring the clients of Kubernetes. Debian has `promtool` in
the package `prometheus`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.services.jars import cache_folder
from tests.services.skips import pass_over

MODULES: Final = Path(__file__).with_name("go")
BUILD_TIMEOUT_SECONDS: Final = 900.0


class GoProgram(NamedTuple):
    """A program: its name, its package, and how it is built."""

    name: str
    package: str
    flags: tuple[str, ...] = ()

    def built(self, cache: Path) -> Path:
        """Return the program in a cache folder, built by `go build` where it is missing.

        Who comes while another builds it waits.

        Raises:
            FileNotFoundError: without `go`.
            CalledProcessError: if the build fails.
            TimeoutExpired: if it takes longer than `BUILD_TIMEOUT_SECONDS`.
        """
        module = MODULES / self.name
        digest = hashlib.sha256((module / "go.sum").read_bytes()).hexdigest()[:12]
        folder = cache / f"{self.name}-{digest}"
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / self.name
        with (folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not program.is_file():
                # Go renames what it has linked to its place.
                flags = [*self.flags, "-trimpath", "-mod=readonly", "-ldflags=-s -w", f"-o={program}"]
                command = ["go", "build", *flags, self.package]
                subprocess.run(
                    command,
                    check=True,
                    capture_output=True,
                    text=True,
                    cwd=module,
                    timeout=BUILD_TIMEOUT_SECONDS,
                    env={**os.environ, "CGO_ENABLED": "0"},
                )
        return program

    def find(self, cache: Path) -> Path:
        """Return the program on the PATH, or in the environment, else the built one; raises as `built` does."""
        program = shutil.which(self.name) or shutil.which(self.name, path=str(Path(sys.executable).parent))
        return Path(program) if program else self.built(cache)

    def needed(self) -> Path:
        """Return the program, or skip the test where there is neither the program nor Go."""
        try:
            return self.find(cache_folder())
        except FileNotFoundError:
            pass_over(f"needs {self.name}, or Go to build it")
        except subprocess.CalledProcessError as error:
            pytest.fail(f"Go could not build {self.name}: {error}\n{error.stderr[-2000:]}")

    def complaint(self, *arguments: str, text: str = "") -> str:
        """Run the program, and return what it says if it finds something wrong; else an empty text."""
        done = self.run(*arguments, text=text)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def run(self, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run the program with a text on stdin."""
        command = [str(self.needed()), *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)


# Without the service discovery of clouds, which no test needs.
PROMTOOL: Final = GoProgram("promtool", "github.com/prometheus/prometheus/cmd/promtool", ("-tags=remove_all_sd",))
HELM: Final = GoProgram("helm", "helm.sh/helm/v3/cmd/helm")
