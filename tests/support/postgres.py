"""A PostgreSQL of a test's own: a process of an unprivileged user, since it refuses to run as root."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from tests.services.probe import LOOPBACK, free_port
from tests.services.skips import pass_over

_USER: Final = "nobody"
_START_SECONDS: Final = 60.0
PASSWORD: Final = "pa55-of-the-owner"


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server, and give the URL of a database in it; skip where there is none."""
    programs = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *map(Path, filter(None, [shutil.which("initdb")]))]
    if not programs:
        pass_over("needs PostgreSQL (Debian's package postgresql)")
    initdb, server = programs[0].resolve(), programs[0].resolve().with_name("postgres")
    # Not below pytest's folder, which only its user may enter.
    folder = Path(tempfile.mkdtemp(prefix="somabrain-sleep-postgres-"))
    try:
        (folder / "password").write_text(PASSWORD)
        as_user: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            for path in (folder, folder / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
            as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        data, port = folder / "data", free_port()
        subprocess.run(
            [*as_user, str(initdb), "--pgdata", str(data), "--username=owner", "--auth=scram-sha-256", "--no-sync",
             f"--pwfile={folder / 'password'}", "--encoding=UTF8", "--locale=C"],
            cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        options = [f"listen_addresses={LOOPBACK}", f"port={port}", f"unix_socket_directories={folder}", "fsync=off"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*as_user, str(server), "-D", str(data), *(word for option in options for word in ("-c", option))],
                cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            url = f"postgresql://owner:{PASSWORD}@{LOOPBACK}:{port}/postgres"
            _await(url, process, folder / "log")
            yield url
        finally:
            process.terminate()
            process.wait(_START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}") from None
            time.sleep(0.1)
        else:
            return
