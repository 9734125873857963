"""How far a partition's log was applied."""

from typing import Any

import pytest

from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.domain.sealing import NewerCodeError, seal, unseal
from schemas.redis.progress import Progress, pack_rules, unpack_rules


def test_an_empty_hash_is_a_partition_not_yet_begun() -> None:
    """From the first record, under the built-in rules."""
    assert Progress.unpack({}) == Progress(0, None, None, None, 0, [BUILT_IN_RULES], 0, None)


def test_every_field_is_read() -> None:
    """As Redis answers it, in bytes."""
    fields = {
        b"layout": b"3",
        b"next": b"1043",
        b"timestamp": b"1795334837992",
        b"crc": b"4294967295",
        b"states_next": b"77",
        b"records": b"12",
        b"rules": pack_rules([BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})]),
        b"swept": b"1",
        b"partitions": b"8",
        b"refolds_to": b"2000",
        b"timers": b"11",
        b"open": b"3",
        b"highest": b"1795334837999",
        b"operations": b"5",
        b"ended": b"4",
    }
    progress = Progress.unpack(fields)
    first: tuple[object, ...] = (1043, 1795334837992, 2**32 - 1, 77, 12, [], 1, 8)
    assert progress._replace(rules=[]) == (*first, 2000, 11, 3, 1795334837999, 5, 4)
    assert progress.latest == 1795334837999
    assert [rules.number for rules in progress.rules] == [0, 1]
    before = Progress.unpack(fields | {b"layout": b"2"})
    assert before._replace(rules=[]) == (*first, 2000, 11, 3, None, None, None)
    assert before.latest == 1795334837992, "the last record's, for want of better"
    assert Progress.unpack(fields | {b"layout": b"1"})[8:] == (0, None, None, None, None, None)


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
    with pytest.raises(ValueError, match="layout 4 is newer than 3; run the newer version"):
        Progress.unpack({b"layout": b"4"})


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
        {b"rules": seal(b'[{"policy": 1}]')},
        {b"rules": seal(b"{}")},
        {b"rules": seal(b"7")},
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_refused(fields: dict[bytes, Any]) -> None:
    """As a ValueError, whatever is wrong."""
    with pytest.raises(ValueError, match=r"."):
        Progress.unpack(fields)


def test_rules_with_a_field_of_a_newer_release_ask_for_an_upgrade() -> None:
    """Their checksum is right, so nothing is damaged."""
    with pytest.raises(NewerCodeError, match=r"^rules field 'policy.colour' is of a newer release; upgrade"):
        Progress.unpack({b"rules": seal(b'[{"policy": {"colour": 1}}]')})


def test_rules_that_were_changed_by_hand_are_refused() -> None:
    """Valid ones too: every tenant would be folded under them."""
    packed = pack_rules([BUILT_IN_RULES, parse_rules(1, {"retire_after_seconds": 60})])
    with pytest.raises(ValueError, match="the rules are not what was packed: damaged: its checksum is wrong"):
        Progress.unpack({b"rules": packed.replace(b"60", b"61")})
