"""Dead letters, and the ceiling on those that are our own failures."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.kafka.source_record import HEADER_BYTES, UNREADABLE_BATCH, UNREADABLE_HEADER, Failure
from tests.support.records import Source
from tests.support.times import T
from worker.fold.dead_letter import HEADERS_CUT, Ceiling, dead_letter

ROOT = Path(__file__).parents[3]


def headers_of(record: Source, failure: Failure) -> dict[str, bytes]:
    """Return the headers of a record's dead letter."""
    return dict(dead_letter(record, failure).headers)


def test_a_dead_letter_has_the_raw_record_and_what_happened() -> None:
    """Its own headers come after ours."""
    record = Source(7, T, b"acme", b"{", (("ce_id", b"x"),), "sleep.events", 3)
    letter = dead_letter(record, Failure("undecodable", "the value is not JSON"))
    assert (letter.key, letter.value) == (b"acme", b"{")
    assert letter.headers == [
        ("sleep.error.code", b"undecodable"),
        ("sleep.error.message", b"the value is not JSON"),
        ("sleep.error.topic", b"sleep.events"),
        ("sleep.error.partition", b"3"),
        ("sleep.error.offset", b"7"),
        ("sleep.error.at", str(T).encode()),
        ("sleep.error.size", b"1"),
        ("ce_id", b"x"),
    ]


def test_a_value_is_cut_at_64_kib_and_its_size_told() -> None:
    """The whole of it is still in the log."""
    record = Source(7, T, b"acme", b"x" * 1_000_000)
    letter = dead_letter(record, Failure("oversize", "too large"))
    assert letter.value == b"x" * 65_536
    assert dict(letter.headers)["sleep.error.size"] == b"1000000"


def test_a_record_without_key_or_value_stays_without() -> None:
    """A tombstone is told from an empty value."""
    letter = dead_letter(Source(7, T, None, None), Failure("undecodable", "no value"))
    assert (letter.key, letter.value) == (None, None)
    assert dict(letter.headers)["sleep.error.size"] == b"0"
    assert dead_letter(Source(7, T, b"", b""), Failure("undecodable", "x")).value == b""


def test_a_dead_letter_that_is_one_again_has_its_last_error_only() -> None:
    """Of a redriven record, what happened now counts."""
    record = Source(7, T, b"acme", b"{", (("sleep.error.code", b"old"), ("sleep.error.at", b"1"), ("other", b"kept")))
    headers = dead_letter(record, Failure("wrong_key", "now")).headers
    assert [name for name, _ in headers].count("sleep.error.code") == 1
    assert dict(headers)["sleep.error.code"] == b"wrong_key"
    assert ("other", b"kept") in headers


def test_no_record_is_so_big_that_its_dead_letter_does_not_fit_a_batch() -> None:
    """Its key is cut as its value is, and of its headers the first 64 KiB are kept."""
    headers = (("a", b"x" * 60_000), ("b", b"x" * 900_000), ("c", b"y"))
    letter = dead_letter(Source(7, T, b"k" * 900_000, b"x" * 900_000, headers), Failure("oversize", "too large"))
    assert letter.key == b"k" * 65_536
    assert [name for name, _ in letter.headers if not name.startswith("sleep.error.")] == ["a"]


def test_headers_that_are_missing_are_told() -> None:
    """Those of an earlier error are none of the record's."""
    of_earlier_error = [("sleep.error.message", b"x" * 65_000)]
    whole = Source(7, T, b"k", b"v", [*of_earlier_error, ("a", b"x" * (65_535 - HEADER_BYTES))])
    assert "sleep.error.cut" not in headers_of(whole, Failure("invalid_event", "x"))
    cut = Source(7, T, b"k", b"v", [*of_earlier_error, ("a", b"x" * 65_536), ("b", b"")])
    assert headers_of(cut, Failure("invalid_event", "x"))["sleep.error.cut"] == b"headers"


def test_a_long_message_is_cut() -> None:
    """A traceback may be as long as it likes."""
    assert (
        len(headers_of(Source(7, T, None, b"x"), Failure("fold_failed", "é" * 9_000))["sleep.error.message"]) == 8_000
    )


def test_of_a_long_traceback_the_end_is_kept() -> None:
    """What was raised stands there."""
    failure = Failure("fold_failed", "x" * 9_000 + "\nZeroDivisionError", ours=True)
    assert headers_of(Source(7, T, None, b"x"), failure)["sleep.error.message"].endswith(b"x\nZeroDivisionError")
    theirs = Failure("invalid_event", "field: wrong" + "x" * 9_000)
    assert headers_of(Source(7, T, None, b"x"), theirs)["sleep.error.message"].startswith(b"field: wrong")


def feed(ceiling: Ceiling, *runs: tuple[int, bool]) -> Ceiling:
    """Count runs of records, failed or not."""
    for times, failed in runs:
        for _ in range(times):
            ceiling.count(failed=failed)
    return ceiling


@pytest.mark.parametrize(
    ("runs", "reached"),
    [
        ([(499, True)], False),
        ([(500, True)], True),
        ([(500, False), (500, True)], False),
        ([(499, False), (501, True)], True),
        ([(501, True), (499, False)], True),
        ([(501, True), (500, False)], False),
        ([(10_000, False), (500, True)], False),
        ([(10_000, False), (501, True)], True),
        ([(10_000, True), (500, False)], False),
    ],
)
def test_the_ceiling_is_half_of_the_last_1000_and_at_least_500(runs: list[tuple[int, bool]], reached: bool) -> None:  # noqa: FBT001
    """More than that is a bad deploy, not bad data."""
    assert feed(Ceiling(0.5), *runs).reached is reached


@pytest.mark.parametrize(("ratio", "reached"), [(1.0, False), (0.9, True), (0.0, True)])
def test_a_ratio_of_1_is_no_ceiling(ratio: float, reached: bool) -> None:  # noqa: FBT001
    """That is how a person says go on."""
    assert feed(Ceiling(ratio), (2_000, True)).reached is reached


def test_a_ceiling_of_0_still_wants_500_failures() -> None:
    """A handful is never a bad deploy."""
    assert not feed(Ceiling(0.0), (499, True), (400, False)).reached


def codes(path: Path) -> Iterator[str]:
    """Yield the codes of dead letters that a module spells out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="Failure" | "UndecodableError"), args=[ast.Constant(value=str(code)), *_]):
                yield code
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.IfExp() as either):
                yield from (str(part.value) for part in (either.body, either.orelse) if isinstance(part, ast.Constant))
            case _:
                pass


def test_the_runbook_tells_what_to_do_about_each_code() -> None:
    """Each that the code has, and no other."""
    known = {
        code
        for path in (
            *ROOT.glob("worker/**/*.py"),
            *ROOT.glob("schemas/formats/*.py"),
            ROOT / "schemas/wire/cloudevents.py",
        )
        for code in codes(path)
    }
    assert {"invalid_event", "wrong_partition", "fold_failed"} < known
    known |= {UNREADABLE_BATCH, UNREADABLE_HEADER}
    page = (ROOT / "docs/runbooks/dead-letters.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(code for row in rows for code in re.findall(r"`(\w+)`", row)) == sorted(known)


def test_a_letter_fits_a_batch_however_many_headers_its_record_has() -> None:
    """Headers without a name or content have bytes of their own on the wire, and memory."""
    bomb = Source(7, T, b"k", b"v", [("", b"")] * 600_000)
    letter = dead_letter(bomb, Failure("invalid_event", "x"))
    assert HEADERS_CUT in letter.headers
    assert len(letter.headers) < 1_100
