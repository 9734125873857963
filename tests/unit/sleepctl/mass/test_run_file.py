"""The file of a run: what is on the disk when, and what a file that was cut, copied or damaged comes to."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json

from sleepctl.mass.run_file import LAYOUT, REFUSALS, Head, Result, RunFile
from sleepctl.mass.targets import Target
from sleepctl.ui.errors import CommandError

HEAD = Head("wake", {"command": "mode", "target_state": "active"}, "ops", 1_795_000_000_000)
TARGETS = [Target("acme"), Target("globex", "op-1"), Target("initech", [{"floor": "light"}, 3])]
REFUSED = Result(done=False, code="not_running", operation_id="op-1", detail="it has ended")


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close each file that a test has opened, as the end of a process does."""
    opened: list[RunFile] = []
    make = RunFile.__init__

    def remember(self: RunFile, *arguments: Any) -> None:  # noqa: ANN401 - passed on
        opened.append(self)
        make(self, *arguments)

    monkeypatch.setattr(RunFile, "__init__", remember)
    yield
    for file in opened:
        file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be, in a folder that is not there yet."""
    return tmp_path / "runs" / "wake.jsonl"


def _opened(path: Path) -> RunFile:
    file = RunFile.open(path)
    assert file is not None
    return file


def _create(path: Path) -> None:
    RunFile.create(path, HEAD, TARGETS).close()


def test_a_file_holds_head_and_targets(path: Path) -> None:
    """And nobody else may read it: reasons and names are the operator's."""
    _create(path)
    file = _opened(path)
    assert file.head == HEAD
    assert [file.target(index) for index in range(len(file))] == TARGETS
    assert list(file.unanswered()) == [0, 1, 2]
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_without_a_file_there_is_no_run(path: Path) -> None:
    """So a run begins."""
    assert RunFile.open(path) is None


def test_answers_and_marks_are_there_when_the_file_is_opened_again(path: Path) -> None:
    """A mark says when a target was perhaps sent to for the first time."""
    file = RunFile.create(path, HEAD, TARGETS)
    file.mark(1, 1_000)
    file.answer(0, Result(done=True, operation_id="op-0"))
    file.mark(2, 2_000)
    file.answer(1, REFUSED)
    file.close()
    again = _opened(path)
    assert list(again.unanswered()) == [2]
    assert [again.sent_at(index) for index in range(3)] == [1_000, 2_000, None]
    assert (again.done, again.refused) == (1, 1)
    assert again.codes == {"done": 1, "not_running": 1}
    assert again.refusals == [("globex", REFUSED)]


def test_the_first_answer_of_a_target_counts(path: Path) -> None:
    """A second one cannot come, unless somebody edits the file."""
    file = RunFile.create(path, HEAD, TARGETS)
    file.answer(0, Result(done=True))
    file.answer(0, Result(done=False, code="x"))
    assert (file.done, file.refused) == (1, 0)


def test_only_the_first_refusals_are_kept_in_memory(path: Path) -> None:
    """All are counted."""
    file = RunFile.create(path, HEAD, [Target(f"t{number}") for number in range(REFUSALS + 2)])
    for index in range(REFUSALS + 2):
        file.answer(index, Result(done=False, code="not_running"))
    assert (len(file.refusals), file.refused) == (REFUSALS, REFUSALS + 2)


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_last_line_that_was_cut_is_removed(path: Path, cut: int) -> None:
    """A process that is killed leaves it; the next line begins on a line of its own."""
    file = RunFile.create(path, HEAD, TARGETS)
    file.answer(0, Result(done=True))
    before = path.stat().st_size
    file.answer(1, Result(done=True))
    file.close()
    os.truncate(path, path.stat().st_size - cut)
    again = _opened(path)
    assert list(again.unanswered()) == [1, 2]
    assert path.stat().st_size == before
    again.answer(2, Result(done=True))
    again.close()
    assert list(_opened(path).unanswered()) == [1]


def test_a_plan_that_was_cut_begins_anew(path: Path) -> None:
    """Nothing was sent before the line that says that it is complete."""
    _create(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    assert RunFile.open(path) is None
    RunFile.create(path, HEAD, TARGETS[:1]).close()
    assert len(_opened(path)) == 1


def test_a_complete_plan_is_never_replaced(path: Path) -> None:
    """Two calls at the same time: one of them wins."""
    _create(path)
    with pytest.raises(CommandError, match="is there already; name another run"):
        RunFile.create(path, HEAD, TARGETS)
    assert len(_opened(path)) == 3


def test_one_process_at_a_time_has_the_file(path: Path) -> None:
    """Two would send the same command at the same time, and lose answers."""
    file = RunFile.create(path, HEAD, TARGETS)
    with pytest.raises(CommandError, match="another process continues this run now"):
        RunFile.open(path)
    file.close()
    _opened(path)


@pytest.mark.parametrize(
    "damage",
    [
        b"[0\n",
        b'["x","done",null,null,null]\n',
        b'[99,"done",null,null,null]\n',
        b'[-1,"done",null,null,null]\n',
        b'{"through":1}\n',
        b'[0,"done",1,2,3,4]\n',
        b"7\n",
    ],
)
def test_a_damaged_line_is_named_with_what_to_do(path: Path, damage: bytes) -> None:
    """It is the sixth line; nothing is guessed."""
    _create(path)
    with path.open("ab") as file:
        file.write(damage)
    with pytest.raises(CommandError, match=r"line 6 is damaged\. Remove the line") as error:
        RunFile.open(path)
    assert error.value.exit_code == 2


def test_a_plan_with_the_wrong_number_is_damaged(path: Path) -> None:
    """A target was removed."""
    _create(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(CommandError, match="line 4 is damaged"):
        RunFile.open(path)


@pytest.mark.parametrize("content", [b"{}\n", b"[]\n", b'"acme"\n'])
def test_another_file_is_left_alone(path: Path, content: bytes) -> None:
    """A path may name anything."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(CommandError, match="is no file of a run"):
        RunFile.open(path)
    assert path.read_bytes() == content


def test_a_file_of_another_layout_needs_its_own_version(path: Path) -> None:
    """It is named."""
    _create(path)
    path.write_bytes(path.read_bytes().replace(b'"layout":1', b'"layout":2'))
    with pytest.raises(CommandError, match=f"has layout 2, and this version reads layout {LAYOUT}"):
        RunFile.open(path)


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A folder in place of the file, and a file in place of the folder."""
    with pytest.raises(CommandError, match="Is a directory; name a file"):
        RunFile.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="by --run PATH"):
        RunFile.create(tmp_path / "file" / "x.jsonl", HEAD, TARGETS)


def test_a_full_disk_stops_the_run() -> None:
    """Before anything is sent that is not written down."""
    full = Path("/dev/full")
    file = RunFile(full, full.open("r+b", buffering=0), HEAD, [b'"acme"'])
    with pytest.raises(CommandError, match="No space left"):
        file.mark(1, 1)
    with pytest.raises(CommandError, match="No space left"):
        file.answer(0, Result(done=True))


def test_each_line_is_json(path: Path) -> None:
    """For people with grep and jq."""
    file = RunFile.create(path, HEAD, TARGETS)
    file.mark(3, 5)
    file.answer(2, Result(done=False, code="x", detail="why"))
    file.close()
    assert [from_json(line) for line in path.read_bytes().splitlines()] == [
        {"run": "wake", "layout": 1, "command": HEAD.command, "subject": "ops", "at": HEAD.at},
        "acme",
        ["globex", "op-1"],
        ["initech", [{"floor": "light"}, 3]],
        {"ready": 3},
        {"through": 3, "at": 5},
        [2, "refused", "x", None, "why"],
    ]
