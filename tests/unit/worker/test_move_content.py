"""What new partitions hold: each tenant where it belongs, under rules that all partitions share."""

from typing import Any

import pytest
from msgspec.structs import replace
from pydantic_core import from_json

from schemas.domain.policy import BUILT_IN_RULES, Rules, parse_rules
from schemas.domain.record import new_record
from schemas.kafka.partitioner import partition_of
from tests.support.operations import outcome
from tests.support.times import NOW, T
from worker.recovery.errors import RefusedError
from worker.recovery.move.content import MARKER, NewPartitions, OldPartition, common_rules
from worker.recovery.partition_content import PartitionContent

LIGHT: dict[str, Any] = {"policy": {"breakers": [{"match": "*", "open": "light"}]}}
DEEP: dict[str, Any] = {"policy": {"breakers": [{"match": "*", "open": "deep"}]}}


def _numbered(*documents: dict[str, Any]) -> list[Rules]:
    return [BUILT_IN_RULES, *(parse_rules(number, document) for number, document in enumerate(documents, 1))]


def _old(partition: int, rules: list[Rules], *tenants: str, under: int | None = None, latest: int = T) -> OldPartition:
    """A partition whose tenants were last folded under rules of a number, by default under the last ones."""
    number = len(rules) - 1 if under is None else under
    records = {tenant: replace(new_record(rules[number], NOW), offset=7, version=3) for tenant in tenants}
    return OldPartition(partition, 8, latest, rules, records, {}, {}, {})


def _contents(old: list[OldPartition], partitions: int) -> list[PartitionContent]:
    """What all new partitions are to hold."""
    planned = NewPartitions(old, partitions)
    return [planned.content(number) for number in range(partitions)]


def test_each_tenant_is_where_it_belongs_and_keeps_all_but_its_position() -> None:
    """Those of two partitions go to five; the rules come first on the states topic."""
    names = [f"tenant-{number}" for number in range(40)]
    rules = _numbered(LIGHT, DEEP)
    old = [
        _old(0, rules, *names[:20], under=1, latest=T + 5),
        _old(1, rules, *names[20:]),
    ]
    contents = _contents(old, 5)
    assert [content.partition for content in contents] == list(range(5))
    assert {content.highest for content in contents} == {T + 5}
    assert {content.next for content in contents} == {MARKER + 1}
    for content in contents:
        assert content.records == {
            name: replace(each.records[name], offset=MARKER)
            for each in old
            for name in each.records
            if partition_of(name, 5) == content.partition
        }
        keys = [output.key for output in content.states]
        assert keys == [b"*rules:1", b"*rules:2", *(name.encode() for name in sorted(content.records))]
        documents = [from_json(output.value or b"") for output in content.states]
        assert {document["position"] for document in documents} == {f"{content.partition}:{MARKER}"}
        assert [document["rules"] for document in documents[:2]] == [each.document for each in rules[1:]]


def test_rows_of_one_moment_stay_in_their_order() -> None:
    """A later row says if an earlier state was enforced, and many commands have the same time."""
    kept = outcome()
    keys = [("acme", "z"), ("acme", "b"), ("acme", "a")]
    rows: dict[tuple[str, str], dict[str, Any]] = {
        key: {"at": T, "id": f"0:{offset}:0", "position": f"0:{offset}"} for offset, key in enumerate(keys, 9)
    }
    old = _old(0, _numbered(), "acme")._replace(
        operations={key: kept._replace(operation_id=key[1], position=rows[key]["position"]) for key in keys}, rows=rows
    )
    [content] = _contents([old], 1)
    assert [from_json(row.value or b"") for row in content.transitions] == [
        {"at": T, "id": f"0:{MARKER}:{index}", "position": f"0:{MARKER}"} for index in range(3)
    ]
    reordered = {**rows, keys[0]: {**rows[keys[0]], "code": "first"}}
    [content] = _contents([old._replace(rows=reordered)], 1)
    assert "code" in from_json(content.transitions[0].value or b"")
    assert {each.position for each in content.operations.values()} == {f"0:{MARKER}"}


def test_partitions_that_came_to_the_same_rules_differently_keep_only_these() -> None:
    """No tenant is under earlier ones."""
    old = [_old(0, _numbered(LIGHT, DEEP), "acme"), _old(1, _numbered(DEEP), "globex")]
    common = common_rules(old)
    assert [rules.digest for rules in common.rules] == [each.digest for each in _numbered(DEEP)]
    records = {name: record for content in _contents(old, 3) for name, record in content.records.items()}
    assert {record.rules_number for record in records.values()} == {1}
    back = [_old(0, _numbered(LIGHT, {}), "acme"), _old(1, _numbered(), "globex")]
    assert common_rules(back).rules == [BUILT_IN_RULES]
    assert {record.rules_number for content in _contents(back, 3) for record in content.records.values()} == {0}


def test_different_rules_are_refused() -> None:
    """And so is a tenant under rules that only its partition had."""
    with pytest.raises(RefusedError, match=r"the partitions have different rules .*: apply the rules again"):
        common_rules([_old(0, _numbered(LIGHT)), _old(1, _numbered(DEEP))])
    with pytest.raises(RefusedError, match=r"partition 0 had other rules before .* and 1 tenants .*acme"):
        common_rules([_old(0, _numbered(LIGHT, DEEP), "acme", under=1), _old(1, _numbered(DEEP), "globex")])
