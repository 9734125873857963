"""How far a partition's log has been applied: the layout of the `progress` hash in Redis."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from schemas.layout import NewerLayoutError, seal, unseal
from schemas.policy import BUILT_IN_RULES, InvalidDocumentError, Rules, parse_rules

LAYOUT: Final = 2
"""Layout 1 knew neither `refolds_to` nor how many timers and open-ended tenants there are."""


class Progress(NamedTuple):
    """What `progress` says.

    Attributes:
        next: the offset of the first record not yet applied; negative while the partition is being rebuilt.
        timestamp, crc: timestamp (ms) and CRC-32 of key and value of the last record applied, None before it.
        states_next: the end of the states partition after the lane's own last append, None before it.
        records: the number of tenants with a record.
        rules: every numbered version of the rules, the built-in ones first.
        swept: the number of the rules for which each tenant has been sent a timer.
        topic_id: the id of the events topic where the broker tells it.
        partitions: the number of partitions of the events topic.
        refolds_to: where a partition of which Redis held nothing will have been folded anew; 0 where none was. Until
            `next` gets there, a tenant without a record may be one that has not come back yet.
        timers, open: the number of tenants with a timer, and of open-ended ones; None where layout 1 has not said so.
    """

    next: int
    timestamp: int | None
    crc: int | None
    states_next: int | None
    records: int
    rules: list[Rules]
    swept: int
    topic_id: str | None
    partitions: int | None
    refolds_to: int = 0
    timers: int | None = None
    open: int | None = None

    @classmethod
    def unpack(cls, fields: Mapping[bytes, bytes]) -> "Progress":
        """Return the progress in a hash as Redis answers it; an empty hash is a partition not yet begun.

        Raises:
            NewerLayoutError: if a newer version wrote it.
            ValueError: if a field is not what it should be.
        """
        layout = known_layout(fields.get(b"layout"))
        if layout not in _READERS:
            msg = f"progress has layout {layout}, which there never was"
            raise ValueError(msg)
        return _READERS[layout](fields)


def known_layout(found: bytes | None) -> int:
    """Return the layout that progress has, 1 where it does not say.

    Raises:
        NewerLayoutError: if a newer version wrote it.
        ValueError: if it is no number.
    """
    layout = 1 if found is None else int(found)
    if layout > LAYOUT:
        raise NewerLayoutError(layout, LAYOUT)
    return layout


def _number(fields: Mapping[bytes, bytes], name: bytes) -> int | None:
    if name not in fields:
        return None
    found = int(fields[name])
    if found < 0 and name != b"next":
        msg = f"{name.decode()} is {found}"
        raise ValueError(msg)
    return found


def _read_1(fields: Mapping[bytes, bytes]) -> Progress:
    number = partial(_number, fields)
    rules = unpack_rules(fields.get(b"rules"))
    swept = number(b"swept") or 0
    if swept >= len(rules):
        msg = f"tenants were told of rules {swept}, and there are only {len(rules)}, from 0"
        raise ValueError(msg)
    topic_id = fields.get(b"topic_id")
    return Progress(
        next=number(b"next") or 0,
        timestamp=number(b"timestamp"),
        crc=number(b"crc"),
        states_next=number(b"states_next"),
        records=number(b"records") or 0,
        rules=rules,
        swept=swept,
        topic_id=None if topic_id is None else topic_id.decode(),
        partitions=number(b"partitions"),
    )


def _read_2(fields: Mapping[bytes, bytes]) -> Progress:
    number = partial(_number, fields)
    return _read_1(fields)._replace(
        refolds_to=number(b"refolds_to") or 0, timers=number(b"timers"), open=number(b"open")
    )


_READERS: Final[Mapping[int, Callable[[Mapping[bytes, bytes]], Progress]]] = {1: _read_1, 2: _read_2}


def pack_rules(rules: list[Rules]) -> bytes:
    """Return the documents of all rules but the built-in ones, in order, sealed."""
    return seal(to_json([version.document for version in rules[1:]]))


def unpack_rules(packed: bytes | None) -> list[Rules]:
    """Return all rules by number, the built-in ones first.

    Raises:
        ValueError: if the bytes are not what `pack_rules` wrote.
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
        return [BUILT_IN_RULES, *(parse_rules(number, found) for number, found in enumerate(documents, start=1))]
    except InvalidDocumentError as error:
        msg = f"the rules are not what was packed: {error}"
        raise ValueError(msg) from error
