"""Dead letters, read back: what each says of itself, and the record that it was."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from schemas.cloudevents import MAX_BYTES, Headers
from schemas.partition import partition_of
from worker.deadletter import SourceRecord
from worker.ports import Output

_PREFIX: Final = "sleep.error."


class DeadLetter(NamedTuple):
    """A record that was set aside.

    Attributes:
        place: where on the dead-letter topic it stands, `P:O`.
        code, message: why.
        topic, partition, offset: where it came from.
        at: the timestamp that it had there, ms.
        size: bytes of its whole value.
        key, value, headers: the record's own, each cut at 64 KiB.
        headers_cut: whether headers are missing.
    """

    place: str
    code: str
    message: str
    topic: str
    partition: int
    offset: int
    at: int
    size: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    headers_cut: bool = False

    @classmethod
    def of(cls, record: SourceRecord) -> "DeadLetter":
        """Return the dead letter in a record of the topic.

        Raises:
            ValueError: if it lacks what a dead letter says of itself.
        """
        said = {name.removeprefix(_PREFIX): text.decode() for name, text in record.headers if name.startswith(_PREFIX)}
        own = [(name, content) for name, content in record.headers if not name.startswith(_PREFIX)]
        place = f"{record.partition}:{record.offset}"
        try:
            return cls(
                place=place,
                code=said["code"],
                message=said["message"],
                topic=said["topic"],
                partition=int(said["partition"]),
                offset=int(said["offset"]),
                at=int(said["at"]),
                size=int(said["size"]),
                key=record.key,
                value=record.value,
                headers=own,
                headers_cut="cut" in said,
            )
        except KeyError as error:
            msg = f"{place} is no dead letter of ours: it has no header {_PREFIX}{error.args[0]}"
            raise ValueError(msg) from None

    @property
    def source(self) -> tuple[str, int, int, int, int]:
        """Which record it was: its place, time and size; a topic that was made anew has the same places."""
        return self.topic, self.partition, self.offset, self.at, self.size

    @property
    def cut(self) -> bool:
        """Whether a part of the record is missing, so that it cannot be put back."""
        return self.headers_cut or self.size > MAX_BYTES or len(self.key or b"") >= MAX_BYTES


class Back(NamedTuple):
    """A record to put back, and where."""

    letter: DeadLetter
    topic: str
    partition: int
    output: Output


def in_order(letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """Yield dead letters in the order in which their records came, each record once.

    A worker that died may have set a record aside twice. Within a partition the order is that of the offsets, and
    between partitions that of the times.
    """
    once = {letter.source: letter for letter in letters}
    latest: dict[tuple[str, int], int] = {}
    timed = []
    for source, letter in sorted(once.items()):
        # A broker's clock may step back; an offset never does.
        latest[source[:2]] = max(latest.get(source[:2], letter.at), letter.at)
        timed.append((latest[source[:2]], source, letter))
    for _, _, letter in sorted(timed, key=lambda item: item[:2]):
        yield letter


def put_back(letter: DeadLetter, events: str, partitions: int, sources: Iterable[str]) -> Back | str:
    """Return the record to send, or in words why it cannot be put back.

    Args:
        letter: the dead letter.
        events: the events topic, on which a tenant's partition follows from the key.
        partitions: how many it has.
        sources: the topics that we read.
    """
    if letter.headers_cut:
        return f"its headers were cut: {MAX_BYTES} bytes of them are kept"
    if letter.cut:
        return f"its key or value was cut: it had {letter.size} bytes, and {MAX_BYTES} are kept"
    if letter.topic not in sources:
        return f"it came from {letter.topic}, which we do not read"
    partition = letter.partition
    if letter.topic == events and letter.key is not None:
        try:
            partition = partition_of(letter.key.decode(), partitions)
        except UnicodeDecodeError:
            return "its key is no text, so that it would be set aside again"
    return Back(letter, letter.topic, partition, Output(letter.key, letter.value, letter.headers))
