"""Runs `logic.test.js` on the console's modules without a page."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from api.console.files import FOLDER

NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_logic_of_the_console(tmp_path: Path) -> None:
    """Sentences, times, addresses, filters, the list's window, states, permissions, commands, policies, metrics."""
    assert NODE is not None
    shutil.copytree(FOLDER / "pure", tmp_path / "pure")
    shutil.copy(Path(__file__).with_name("logic.test.js"), tmp_path)
    # Node takes a file as a module by this; a browser by the tag that loads it.
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    done = subprocess.run(
        [NODE, "--test"],
        cwd=tmp_path,
        env={"TZ": "Europe/Paris"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout or "fail 0" in done.stdout
