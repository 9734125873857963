"""The test vectors for readers of states: records, instants, and the exact answers of the API's own functions.

docs/reference/streams.md#check-a-reader-of-your-own describes the file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from docs.generator.reader_records import DEFAULTS, RULES, TENANT, T, VectorRecord, vector_records
from docs.generator.reader_streams import streams
from schemas.kafka.partitioner import partition_of
from schemas.wire.reading import read_state

_NAMES: Final = (
    "a", "ab", "abc", "abcd", "abcde", "acme", "globex", "initech", "hooli", "umbrella", "tenant-1", "tenant-12",
    "tenant-123", "A", "Z9", "0", "a.b_c:d@e-f", "UPPER.lower", "x" * 127, "y" * 128,
)  # fmt: skip
_COUNTS: Final = (1, 3, 8, 12, 256)


def reader_vectors() -> str:
    """Return the text of the file: one case a line."""
    partitions = [
        {"tenant": name, "partitions": count, "partition": partition_of(name, count)}
        for name in _NAMES
        for count in _COUNTS
    ]
    parts = {
        "rules": [rules.document for rules in RULES],
        "partitions": partitions,
        "records": [_case(record) for record in vector_records()],
        "streams": list(streams()),
    }
    lists = ",\n".join(f'  "{name}": [\n{_lines(cases)}\n  ]' for name, cases in parts.items())
    return f'{{\n  "version": 1,\n{lists}\n}}\n'


def _lines(cases: Iterable[Any]) -> str:
    return ",\n".join(f"    {json.dumps(case, separators=(',', ':'))}" for case in cases)


def _case(record: VectorRecord) -> dict[str, Any]:
    """Return a record, the default active set of its partition, and the answers at each instant that matters."""
    document = record.document
    default = DEFAULTS[record.default]
    return {
        "name": record.name,
        "default": default.as_json(),
        "record": document,
        "answers": [
            {"at": at, "answer": read_state(TENANT, record.record, RULES, default, at)}
            for at in _instants(document)
            if record.until is None or at < record.until
        ],
    }


def _instants(document: Mapping[str, Any]) -> Sequence[int]:
    """Return the edges of each ramp and each change, the milliseconds beside them, and some moments between."""
    edges: set[int] = {T, document["at"]}
    for present in (document, *document["forecast"]):
        ramp = present["parameters"]
        edges |= {present["at"], ramp["starts_at"], ramp["ends_at"]}
    ordered = sorted(edges)
    between = {before + (after - before) * share // 7 for before, after in pairwise(ordered) for share in (1, 3)}
    return sorted({edge + by for edge in edges for by in (-1, 0, 1)} | between | {ordered[-1] + 86_400_000})
