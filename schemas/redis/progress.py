"""The layout of the `progress` hash in Redis: how far a partition's log has been applied."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from schemas.domain.policy import BUILT_IN_RULES, InvalidDocumentError, Rules, parse_rules
from schemas.domain.sealing import NewerCodeError, NewerLayoutError, seal, unseal

LAYOUT: Final = 3
"""Layout 1 had neither `refolds_to` nor the numbers of timers and of open-ended tenants.

Layout 2 had a key for each command, and neither their number nor the highest timestamp.
"""

_REMEMBERED_RULES: Final = 1_024
"""Rules that are read once: one takes about 4 KiB, and each partition has the same."""


class Progress(NamedTuple):
    """The progress of a partition.

    Attributes:
        next: the offset of the first record not yet applied; negative while the partition is being rebuilt.
        timestamp, crc: timestamp (ms) and CRC-32 of key and value of the last record applied, None before it.
        states_next: the end of the states partition after the lane's own last append, None before it.
        records: the number of tenants with a record.
        rules: every numbered version of the rules, the built-in ones first.
        swept: the number of the rules for which every tenant has got a timer.
        partitions: the number of partitions of the events topic.
        refolds_to: the offset at which the replay of a partition without data in Redis ends; 0 without a replay. Until
            `next` reaches it, a missing record may not have been replayed yet.
        timers, open: the numbers of tenants with a timer, and of open-ended ones; None in layout 1.
        highest: the highest timestamp (ms) of any record applied, None before layout 3.
        operations, ended: the numbers of stored commands and of stored ends; None before layout 3.
    """

    next: int
    timestamp: int | None
    crc: int | None
    states_next: int | None
    records: int
    rules: list[Rules]
    swept: int
    partitions: int | None
    refolds_to: int = 0
    timers: int | None = None
    open: int | None = None
    highest: int | None = None
    operations: int | None = None
    ended: int | None = None

    @property
    def latest(self) -> int:
        """The highest timestamp of any applied record that the layout has; ms, 0 before the first record."""
        return max(self.highest or 0, self.timestamp or 0)

    @classmethod
    def unpack(cls, fields: Mapping[bytes, bytes]) -> "Progress":
        """Return the progress in a hash. An empty hash is a partition without progress.

        Raises:
            NewerLayoutError: if a newer version wrote it.
            ValueError: if a field is invalid.
        """
        layout = known_layout(fields.get(b"layout"))
        if layout not in _READERS:
            msg = f"progress has layout {layout}, which there never was"
            raise ValueError(msg)
        return _READERS[layout](fields)


class ProgressUpdate(NamedTuple):
    """The fields of progress that one commit writes; None leaves a field as it is. The attributes are as in `Progress`.

    Attributes:
        rules: as `pack_rules` returns them.
        layout: the present layout, None to leave the layout as it is.
    """

    next: int | None = None
    timestamp: int | None = None
    crc: int | None = None
    highest: int | None = None
    states_next: int | None = None
    refolds_to: int | None = None
    rules: bytes | None = None
    swept: int | None = None
    partitions: int | None = None
    layout: int | None = LAYOUT

    def fields(self) -> dict[str, int | bytes]:
        """Return the fields to write, by their names in the hash."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def known_layout(stored_layout: bytes | None) -> int:
    """Return the layout of the progress, 1 without a field for it.

    Raises:
        NewerLayoutError: if a newer version wrote it.
        ValueError: if it is not a number.
    """
    layout = 1 if stored_layout is None else int(stored_layout)
    if layout > LAYOUT:
        raise NewerLayoutError(layout, LAYOUT)
    return layout


def _number(fields: Mapping[bytes, bytes], name: bytes) -> int | None:
    if name not in fields:
        return None
    number = int(fields[name])
    if number < 0 and name != b"next":
        msg = f"{name.decode()} is {number}"
        raise ValueError(msg)
    return number


def _read_1(fields: Mapping[bytes, bytes]) -> Progress:
    number = partial(_number, fields)
    rules = unpack_rules(fields.get(b"rules"))
    swept = number(b"swept") or 0
    if swept >= len(rules):
        msg = f"swept is {swept}, and the numbers of rules end at {len(rules) - 1}"
        raise ValueError(msg)
    return Progress(
        next=number(b"next") or 0,
        timestamp=number(b"timestamp"),
        crc=number(b"crc"),
        states_next=number(b"states_next"),
        records=number(b"records") or 0,
        rules=rules,
        swept=swept,
        partitions=number(b"partitions"),
    )


def _read_2(fields: Mapping[bytes, bytes]) -> Progress:
    number = partial(_number, fields)
    return _read_1(fields)._replace(
        refolds_to=number(b"refolds_to") or 0, timers=number(b"timers"), open=number(b"open")
    )


def _read_3(fields: Mapping[bytes, bytes]) -> Progress:
    number = partial(_number, fields)
    return _read_2(fields)._replace(
        highest=number(b"highest"), operations=number(b"operations"), ended=number(b"ended")
    )


_READERS: Final[Mapping[int, Callable[[Mapping[bytes, bytes]], Progress]]] = {1: _read_1, 2: _read_2, 3: _read_3}


def pack_rules(rules: list[Rules]) -> bytes:
    """Return the sealed documents of all rules except the built-in ones, in order."""
    return seal(to_json([version.document for version in rules[1:]]))


@lru_cache(maxsize=_REMEMBERED_RULES)
def _rules_of(number: int, packed: bytes) -> Rules:
    """Return the same object for the same rules: each list of rules holds all that there were before it."""
    return parse_rules(number, from_json(packed))


def unpack_rules(packed: bytes | None) -> list[Rules]:
    """Return all rules by number, the built-in ones first.

    Raises:
        NewerCodeError: if they have a field that only a newer release knows.
        ValueError: if `pack_rules` did not write the bytes.
    """
    try:
        documents: Any = [] if packed is None else from_json(unseal(packed))
    except ValueError as error:
        msg = f"the rules are not what was packed: {error}"
        raise ValueError(msg) from error
    if not isinstance(documents, list):
        msg = "the rules are not a list"
        raise ValueError(msg)  # noqa: TRY004 - the bytes are wrong, not the caller
    try:
        return [
            BUILT_IN_RULES,
            *(_rules_of(number, to_json(document)) for number, document in enumerate(documents, start=1)),
        ]
    except InvalidDocumentError as error:
        if error.unknown is not None:
            raise NewerCodeError("rules field", error.unknown) from error
        msg = f"the rules are not what was packed: {error}"
        raise ValueError(msg) from error
