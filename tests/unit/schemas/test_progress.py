"""How far a partition's log was applied."""

from typing import Any

import pytest

from schemas.layout import seal, unseal
from schemas.policy import BUILT_IN_RULES, parse_rules
from schemas.progress import Progress, pack_rules, unpack_rules


def test_an_empty_hash_is_a_partition_not_yet_begun() -> None:
    """From the first record, under the built-in rules."""
    assert Progress.unpack({}) == Progress(0, None, None, None, 0, [BUILT_IN_RULES], 0, None, None)


def test_every_field_is_read() -> None:
    """As Redis answers it, in bytes."""
    fields = {
        b"layout": b"2",
        b"next": b"1043",
        b"timestamp": b"1795334837992",
        b"crc": b"4294967295",
        b"states_next": b"77",
        b"records": b"12",
        b"rules": pack_rules([BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})]),
        b"swept": b"1",
        b"topic_id": b"dGhlLXRvcGlj",
        b"partitions": b"8",
        b"refolds_to": b"2000",
        b"timers": b"11",
        b"open": b"3",
    }
    progress = Progress.unpack(fields)
    first: tuple[object, ...] = (1043, 1795334837992, 2**32 - 1, 77, 12, [], 1, "dGhlLXRvcGlj", 8)
    assert progress._replace(rules=[]) == (*first, 2000, 11, 3)
    assert [rules.number for rules in progress.rules] == [0, 1]
    assert Progress.unpack(fields | {b"layout": b"1"})._replace(rules=[]) == (*first, 0, None, None)


def test_rules_survive_redis() -> None:
    """All of them, by number; the built-in ones are not stored."""
    rules = [BUILT_IN_RULES, parse_rules(1, {"policy": {"ceiling": "active"}}), parse_rules(2, {})]
    again = unpack_rules(pack_rules(rules))
    assert [(version.number, version.digest) for version in again] == [
        (version.number, version.digest) for version in rules
    ]
    assert unseal(pack_rules([BUILT_IN_RULES])) == b"[]"


def test_a_newer_layout_is_refused() -> None:
    """The error says what to do."""
    with pytest.raises(ValueError, match="layout 3 is newer than 2; run the newer version"):
        Progress.unpack({b"layout": b"3"})


@pytest.mark.parametrize(
    "fields",
    [
        {b"next": b"soon"},
        {b"layout": b"one"},
        {b"crc": b"1.5"},
        {b"layout": b"0"},
        {b"crc": b"-1"},
        {b"swept": b"1"},
        {b"rules": b""},
        {b"rules": seal(b"[")},
        {b"rules": seal(b'[{"colour": 1}]')},
        {b"rules": seal(b"{}")},
        {b"rules": seal(b"7")},
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_refused(fields: dict[bytes, Any]) -> None:
    """As a ValueError, whatever is wrong."""
    with pytest.raises(ValueError, match=r"."):
        Progress.unpack(fields)


def test_rules_that_were_changed_by_hand_are_refused() -> None:
    """Valid ones too: every tenant would be folded under them."""
    packed = pack_rules([BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})])
    with pytest.raises(ValueError, match="the rules are not what was packed: damaged: its checksum is wrong"):
        Progress.unpack({b"rules": packed.replace(b"60", b"61")})
