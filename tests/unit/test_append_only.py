"""What a test knows of a file before it cuts it."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.services import ServiceError
from tests.services.append_only import FOLDER, AppendOnlyFile, append_only_file
from tests.services.containers import ContainerService
from tests.services.processes import RedisProcess


class _Listed(NamedTuple):
    output: bytes


class _Container:
    """A container whose engine hands on what a command printed, or has lost it."""

    def __init__(self, *printed: bytes) -> None:
        self._printed = list(printed)

    def exec_run(self, _: list[str]) -> _Listed:
        return _Listed(self._printed.pop(0) if self._printed else b"")


class _Redis(ContainerService):
    def __init__(self, container: _Container) -> None:
        self._fake = container

    @property
    def container(self) -> Any:  # noqa: ANN401 - docker-py's
        return self._fake

    def running(self) -> bool:
        return True


class _OwnRedis(RedisProcess):
    """A process that never runs, and so needs no port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def file_of(*printed: bytes) -> AppendOnlyFile:
    """Return the file of a Redis whose engine hands on what is given, call by call, and then nothing."""
    return append_only_file(_Redis(_Container(*printed)))


def test_each_incremental_file_is_listed_without_their_sum() -> None:
    """There are two while Redis rewrites them."""
    printed = b" 60 appendonly.aof.1.incr.aof\n  7 appendonly.aof.2.incr.aof\n 67 total\n"
    assert file_of(printed).sizes() == {"appendonly.aof.1.incr.aof": 60, "appendonly.aof.2.incr.aof": 7}


def test_an_answer_that_the_engine_has_lost_is_asked_for_again() -> None:
    """An empty one would mean that there was nothing, and all would be cut off."""
    assert file_of(b"", b"60 appendonly.aof.1.incr.aof\n").sizes() == {"appendonly.aof.1.incr.aof": 60}


def test_an_engine_that_never_tells_is_an_error() -> None:
    """And not an empty file."""
    with pytest.raises(ServiceError, match="does not tell"):
        file_of().sizes()


def test_nothing_is_cut_off_a_file_that_nobody_has_measured(tmp_path: Path) -> None:
    """What was not measured stays as it is."""
    redis = _OwnRedis(tmp_path)
    newest = redis.folder / FOLDER / "appendonly.aof.1.incr.aof"
    newest.parent.mkdir()
    newest.write_bytes(b"everything")
    file = append_only_file(redis)
    with pytest.raises(ServiceError, match="nobody has measured"):
        file.cut({})
    assert file.cut({newest.name: 5}) == len("thing")
    assert newest.read_bytes() == b"every"
