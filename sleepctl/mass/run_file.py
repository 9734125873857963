"""The file of a run: what is sent, to which tenants, and each answer. It lets an interrupted run be continued.

The file has one JSON value a line, and lines are only appended:

1. the head, an object;
2. each target: a tenant, or a tenant and what its command is given;
3. `{"ready": <number of targets>}`: without this line nothing was sent, and the run begins anew;
4. marks and answers. A mark `{"through": n, "at": ms}` is on the disk before anything is sent to the first n targets.
   An answer is `[index, "done" or "refused", code, operation id, detail]`.

So a target without an answer was perhaps sent to, if a mark covers it, and certainly not otherwise. A line that an
interruption has cut is the last one. It is removed when the file is opened.
"""

import fcntl
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self

from pydantic_core import from_json, to_json

from sleepctl.mass.targets import Target
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

LAYOUT: Final = 1
REFUSALS: Final = 10
"""How many refusals are kept in memory, to be shown."""
_HEAD_FIELDS: Final = frozenset({"run", "layout", "command", "subject", "at"})


class Head(NamedTuple):
    """The first line of a run's file.

    Attributes:
        run: the name of the run.
        command: what is sent to each tenant, and how the tenants were chosen; any JSON.
        subject: the subject of the token. Operation ids follow from it.
        at: when the run was planned, in milliseconds since the epoch.
        broken: how many rows of a table are wrong and became no target.
    """

    run: str
    command: dict[str, Any]
    subject: str
    at: int
    broken: int = 0


class Result(NamedTuple):
    """The answer to a target's command: done or refused, with a code, the operation's id and an explanation."""

    done: bool
    code: str | None = None
    operation_id: str | None = None
    detail: str | None = None


class RunFile:
    """An open file of a run. One process at a time has it.

    Attributes:
        head: its first line.
        codes: how many answers have each code; `done` for those without one.
        refusals: the first tenants that were refused, each with its result.
    """

    def __init__(self, path: Path, file: BinaryIO, head: Head, targets: list[bytes]) -> None:
        self.path = path
        self.head = head
        self.codes: Counter[str] = Counter()
        self.refusals: list[tuple[str, Result]] = []
        self.done = 0
        self.refused = 0
        self._file = file
        self._targets = targets
        self._answered = bytearray(len(targets))
        self._through: list[int] = []
        self._at: list[int] = []

    @classmethod
    def create(cls, path: Path, head: Head, targets: Iterable[Target]) -> Self:
        """Write the plan of a run into a new file, or into one whose plan is incomplete.

        Raises:
            CommandError: if the file cannot be written, another process has it, or it has a complete plan.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
            _lock(file, path)
            lines = [to_json(target.tenant if target.given is None else target) for target in targets]
            if _is_ready(file):
                file.close()
                raise CommandError(f"{path} is there already; name another run", WRONG_SETTINGS)
            file.seek(0)
            file.truncate()
            first = {"run": head.run, "layout": LAYOUT, **head._asdict()}
            if not head.broken:
                del first["broken"]
            file.writelines(line + b"\n" for line in [to_json(first), *lines, to_json({"ready": len(lines)})])
            _to_disk(file)
            _folder_to_disk(path.parent)
        except OSError as error:
            raise _unusable(path, error) from None
        return cls(path, file, head, lines)

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Open the file of a run; None if there is none, or nothing of it was sent.

        Raises:
            CommandError: if it cannot be read, another process has it, or it is no such file, naming the line.
        """
        try:
            file = path.open("r+b")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(path, error) from None
        try:
            _lock(file, path)
            lines = _whole_lines(file)
            opened = cls._planned(path, file, lines)
            if opened is not None:
                opened.replay(lines)
        except OSError as error:
            raise _unusable(path, error) from None
        except BaseException:
            file.close()
            raise
        if opened is None:
            file.close()
        return opened

    @classmethod
    def _planned(cls, path: Path, file: BinaryIO, lines: Iterator[tuple[int, bytes]]) -> Self | None:
        head: Head | None = None
        targets: list[bytes] = []
        for number, line in lines:
            if head is None:
                head = _head(path, line)
            elif line.startswith(b"{"):
                if _json(path, number, line) != {"ready": len(targets)}:
                    raise _wrong(path, number)
                return cls(path, file, head, targets)
            else:
                targets.append(line)
        return None

    def replay(self, lines: Iterator[tuple[int, bytes]]) -> None:
        """Read marks and answers, for `open`."""
        for number, line in lines:
            value = _json(self.path, number, line)
            try:
                if isinstance(value, dict):
                    self._through.append(int(value["through"]))
                    self._at.append(int(value["at"]))
                else:
                    index, outcome, *rest = value
                    self._note(index, Result(outcome == "done", *rest))
            except (TypeError, ValueError, LookupError):
                raise _wrong(self.path, number) from None

    def __len__(self) -> int:
        """Return the number of targets."""
        return len(self._targets)

    def target(self, index: int) -> Target:
        """Return a target."""
        value = from_json(self._targets[index])
        return Target(value) if isinstance(value, str) else Target(*value)

    def unanswered(self) -> Iterator[int]:
        """Yield the index of each target without an answer, in order."""
        index = self._answered.find(0)
        while index >= 0:
            yield index
            index = self._answered.find(0, index + 1)

    def sent_at(self, index: int) -> int | None:
        """Return when a target was perhaps sent to for the first time, in milliseconds; None if certainly never."""
        mark = bisect_right(self._through, index)
        return self._at[mark] if mark < len(self._at) else None

    def mark(self, through: int, at: int) -> None:
        """Write down, before it is done, that the first `through` targets are sent to.

        Raises:
            CommandError: if the file cannot be written.
        """
        self._append({"through": through, "at": at})
        try:
            _to_disk(self._file)
        except OSError as error:
            raise _unusable(self.path, error) from None
        self._through.append(through)
        self._at.append(at)

    def answer(self, index: int, result: Result) -> None:
        """Write down the answer to a target's command.

        Raises:
            CommandError: if the file cannot be written.
        """
        _, code, operation_id, detail = result
        self._append([index, "done" if result.done else "refused", code, operation_id, detail])
        self._note(index, result)

    def _note(self, index: int, result: Result) -> None:
        if index < 0:
            raise IndexError
        if self._answered[index]:
            return
        self._answered[index] = 1
        self.codes[result.code or ("done" if result.done else "refused")] += 1
        if result.done:
            self.done += 1
            return
        self.refused += 1
        if len(self.refusals) < REFUSALS:
            self.refusals.append((self.target(index).tenant, result))

    def _append(self, value: object) -> None:
        try:
            self._file.write(to_json(value) + b"\n")
            # What the system has survives the end of this process.
            self._file.flush()
        except OSError as error:
            raise _unusable(self.path, error) from None

    def close(self) -> None:
        """Close the file, and let another process have it."""
        self._file.close()


def _lock(file: BinaryIO, path: Path) -> None:
    """Take the file for this process.

    Raises:
        CommandError: if another process has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise CommandError(f"{path}: another process continues this run now") from None


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """Write down that the folder has the file, or a loss of power may take all of it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _is_ready(file: BinaryIO) -> bool:
    file.seek(0)
    return any(line.startswith(b'{"ready":') and line.endswith(b"\n") for line in file)


def _whole_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number. Remove what follows the last line break, which an interruption has cut."""
    size = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            file.truncate(size)
            break
        size += len(line)
        yield number, line[:-1]
    file.seek(0, os.SEEK_END)


def _json(path: Path, number: int, line: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return from_json(line)
    except ValueError:
        raise _wrong(path, number) from None


def _head(path: Path, line: bytes) -> Head:
    value = _json(path, 1, line)
    if not isinstance(value, dict) or not value.keys() >= _HEAD_FIELDS:
        raise CommandError(f"{path} is no file of a run; name another one", WRONG_SETTINGS)
    if value["layout"] != LAYOUT:
        raise CommandError(
            f"{path} has layout {value['layout']}, and this version reads layout {LAYOUT}: continue the run with the "
            "version that began it",
            WRONG_SETTINGS,
        )
    return Head(value["run"], value["command"], value["subject"], value["at"], value.get("broken", 0))


def _wrong(path: Path, number: int) -> CommandError:
    return CommandError(
        f"{path}: line {number} is damaged. Remove the line: its tenant is then sent the same command again, which the "
        "log recognises for an hour",
        WRONG_SETTINGS,
    )


def _unusable(path: Path, error: OSError) -> CommandError:
    return CommandError(f"{path}: {error.strerror or error}; name a file that can be written, by --run PATH")
