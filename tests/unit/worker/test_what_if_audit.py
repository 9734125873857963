"""The rows of a replay are compared with those that the workers published, however these came."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.events import breaker
from tests.support.records import Source, source
from tests.support.times import SECOND, T
from tests.unit.worker.rebuilds import topic
from tests.unit.worker.replays import begun, folded, range_of
from worker.recovery.errors import ContradictionError
from worker.recovery.what_if import audit_check
from worker.recovery.what_if.audit_check import AuditCheck

LOG = [source(offset, T + offset * SECOND, breaker(("open", "closed")[offset % 2])) for offset in range(6)]
ROWS = topic(folded(LOG).transitions)


def checked(rows: Sequence[Source], late: Sequence[Source] = ()) -> AuditCheck:
    """Return the comparison of a log's replay with these rows, of which some come behind the log."""
    replay = begun(range_of(LOG, 0), folded(LOG))
    for row in rows:
        replay.audit.read(row)
    replay.read(LOG)
    for row in late:
        replay.audit.read(row)
    replay.finish()
    return replay.audit


def test_a_row_that_was_sent_twice_counts_once() -> None:
    """A worker that crashed sends its rows again."""
    check = checked([*ROWS, *ROWS[2:]], ROWS[4:])
    assert (check.matched, check.differences) == (6, 0)


def test_rows_that_come_late_are_matched() -> None:
    """A worker that lost its partition appended its last rows behind those of the next one."""
    check = checked(ROWS[:3], ROWS[3:])
    assert (check.matched, check.differences) == (6, 0)


def test_a_row_that_the_audit_lacks_is_a_difference() -> None:
    """It is shown with the replay's side only."""
    check = checked([*ROWS[:2], *ROWS[3:]])
    assert (check.matched, check.differences) == (5, 1)
    [example] = [example.as_json() for example in check.examples]
    assert (example["id"], example["tenant"], example["audit"]) == ("0:2:0", "acme", None)
    assert example["replay"]["to"] == "freeze"


def test_a_row_that_the_replay_does_not_make_is_a_difference() -> None:
    """It is shown with the audit's side only."""
    row = json.loads(ROWS[2].value or b"") | {"id": "0:2:1"}
    check = checked([*ROWS, replace(ROWS[2], value=json.dumps(row).encode())])
    [example] = [example.as_json() for example in check.examples]
    assert (check.differences, example["id"], example["replay"]) == (1, "0:2:1", None)


def test_a_row_with_another_content_is_a_difference() -> None:
    """Both sides are shown."""
    row = json.loads(ROWS[2].value or b"") | {"to": "deep"}
    check = checked([*ROWS[:2], replace(ROWS[2], value=json.dumps(row).encode()), *ROWS[3:]])
    [example] = [example.as_json() for example in check.examples]
    assert (example["audit"]["to"], example["replay"]["to"]) == ("deep", "freeze")


def test_rows_that_wait_for_ever_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them count as different before the end is read."""
    monkeypatch.setattr(audit_check, "_MOST_WAITING", 2)
    monkeypatch.setattr(audit_check, "_MOST_EXAMPLES", 3)
    replay = begun(range_of(LOG, 0), folded(LOG))
    replay.read(LOG)
    assert replay.audit.differences == 4
    replay.finish()
    assert (replay.audit.differences, len(replay.audit.examples)) == (6, 3)


@pytest.mark.parametrize("value", [b"{", b"null", b'{"position": "0:1"}'])
def test_a_record_that_no_worker_wrote_is_an_error(value: bytes) -> None:
    """It names the place on the topic."""
    with pytest.raises(ContradictionError, match="transitions topic 0:3: no worker wrote this record"):
        checked([Source(3, T, b"acme", value)])


def test_a_row_of_another_partition_is_an_error() -> None:
    """The partition count was changed."""
    row = json.loads(ROWS[2].value or b"") | {"position": "1:2"}
    with pytest.raises(ContradictionError, match="position 1:2 is on transitions partition 0"):
        checked([replace(ROWS[2], value=json.dumps(row).encode())])
