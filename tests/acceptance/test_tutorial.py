"""The tutorial is done as its reader does it: each command is run, and each output compared with the page."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.command import Running
from tests.support.page_examples import Block, blocks_of, looks_like

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "tutorial" / "first-steps.md"
START: Final = "git clone ADDRESS somabrain-sleep\ncd somabrain-sleep\nmake run\n"
SECOND_TERMINAL: Final = "cd somabrain-sleep\n. .venv/bin/activate\n"
SECONDS: Final = 120
pytestmark = [pytest.mark.once, pytest.mark.timeout(400)]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of the second terminal, in a folder that looks like the checkout, beside a running system."""
    (tmp_path / "clients").symlink_to(ROOT / "clients")
    with Running("run", folder=tmp_path) as running:
        running.wait_for("every expected state was seen", SECONDS)
        exports = [running.wait_for(f"export {name}", SECONDS) for name in ("SLEEP_KAFKA_BOOTSTRAP", "SLEEP_URL")]
        variables = dict(word.split("=", 1) for line in exports for word in shlex.split(line.removeprefix("export ")))
        yield {**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        assert running.interrupt(60) == 0, running.told


def test_each_step_of_the_tutorial_gives_what_the_page_shows(tmp_path: Path, shell: dict[str, str]) -> None:
    """From the first command in the second terminal to the replay."""
    start, seen, second, *steps = blocks_of(PAGE)
    assert (start.text, second.text) == (START, SECOND_TERMINAL)
    assert seen.text == "every expected state was seen\n"
    done = 0
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if step.title is not None:
            (tmp_path / step.title).write_text(step.text, encoding="utf-8")
        elif step.kind == "sh":
            output = _run(step, tmp_path, shell)
            assert following is not None
            assert following.kind == "text", f"line {step.line}: no output is shown after it"
            assert looks_like(following.text, output), (
                f"line {following.line}: the page shows something else than\n{output}"
            )
            done += 1
    assert done == 7


def _run(step: Block, folder: Path, variables: dict[str, str]) -> str:
    """Run a block as a shell does, and return what it prints; fail at the first command that fails."""
    ran = subprocess.run(
        ["/bin/bash", "-e", "-c", step.text],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, f"line {step.line}: status {ran.returncode}\n{ran.stdout}"
    return ran.stdout
