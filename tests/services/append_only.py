"""The file that a Redis replays when it starts: how long it is, and a way to cut it, as a crashed machine does.

A Redis that is killed loses nothing, since the kernel has what it wrote; its machine's crash takes the last second.
"""

import io
import tarfile
from abc import ABC, abstractmethod
from pathlib import Path

from tests.services.base import Service, ServiceError
from tests.services.containers import ContainerService
from tests.services.processes import RedisProcess

FOLDER = "appendonlydir"
_NEWEST = ".incr.aof"
_TRIES = 5


class AppendOnlyFile(ABC):
    """The append-only files of a Redis; only the newest grows, and only its end may be missing."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the length of each incremental file, by its name; of a server that runs or of one that is down."""

    @abstractmethod
    def _cut(self, name: str, size: int) -> None: ...

    def cut(self, before: dict[str, int]) -> int:
        """Make the newest file of a server that is down as long as it was before; return how many bytes that takes.

        Raises:
            ServiceError: if nothing is said of before: all that Redis has would be taken away.
        """
        if not before:
            raise ServiceError("nobody has measured the append-only file that is to be cut")
        now = self.sizes()
        name = max(now, key=_number)
        lost = now[name] - before.get(name, 0)
        self._cut(name, before.get(name, 0))
        return lost


def append_only_file(store: Service) -> AppendOnlyFile:
    """Return the append-only file of a Redis.

    Raises:
        ServiceError: if it is run in a way that gives no access to its file, or has several.
    """
    match store:
        case RedisProcess():
            return _OfProcess(store.folder / FOLDER)
        case ContainerService():
            return _OfContainer(store)
        case _:
            raise ServiceError(f"{store.name} of kind {type(store).__name__} cannot be made to lose its last second")


class _OfProcess(AppendOnlyFile):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sizes(self) -> dict[str, int]:
        return {file.name: file.stat().st_size for file in self._folder.glob(f"*{_NEWEST}")}

    def _cut(self, name: str, size: int) -> None:
        with (self._folder / name).open("r+b") as file:
            file.truncate(size)


class _OfContainer(AppendOnlyFile):
    """Through the engine, which reads and writes the files of a container whether it runs or not."""

    def __init__(self, service: ContainerService) -> None:
        self._service = service
        self._folder = f"/data/{FOLDER}"

    def sizes(self) -> dict[str, int]:
        if not self._service.running():
            return {name: len(content) for name, (_, content) in self._files().items()}
        # A busy engine may lose what a short command prints; a Redis that runs always has a file.
        for _ in range(_TRIES):
            listed = self._service.container.exec_run(["sh", "-c", f"cd {self._folder} && wc -c *{_NEWEST}"])
            lines = [line.split() for line in listed.output.decode().splitlines()]
            if lines:
                return {name: int(size) for size, name in lines if name != "total"}
        raise ServiceError(f"the engine does not tell how long the files in {self._folder} are")

    def _cut(self, name: str, size: int) -> None:
        head, content = self._files()[name]
        head.size = size
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(head, io.BytesIO(content[:size]))
        if not self._service.container.put_archive("/data", packed.getvalue()):
            raise ServiceError(f"the engine does not write {head.name}")

    def _files(self) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        chunks, _ = self._service.container.get_archive(self._folder)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            members = [member for member in archive if member.name.endswith(_NEWEST)]
            files = {member: archive.extractfile(member) for member in members}
            return {Path(member.name).name: (member, file.read()) for member, file in files.items() if file is not None}


def _number(name: str) -> int:
    return int(name.removesuffix(_NEWEST).rpartition(".")[2])
