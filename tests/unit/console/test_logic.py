"""Runs the files `*.test.js` on the console's modules without a page."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from api.console.files import FOLDER
from schemas.wire.operation_ids import operation_id_of

NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_logic_of_the_console(tmp_path: Path) -> None:
    """Sentences, times, addresses, filters, the list's window, states, permissions, commands, policies, metrics."""
    assert NODE is not None
    for folder in ("pure", "io", "vendor"):
        shutil.copytree(FOLDER / folder, tmp_path / folder)
    for tests in Path(__file__).parent.glob("*.test.js"):
        shutil.copy(tests, tmp_path)
    # Node takes a file as a module by this; a browser by the tag that loads it.
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    done = subprocess.run(
        [NODE, "--test"],
        cwd=tmp_path,
        env={"TZ": "Europe/Paris", "OPERATION_ID": operation_id_of("acme", "ops", "run:night")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout or "fail 0" in done.stdout
