"""The list of one partition: what counts, what is told, and what is remembered. By hand, without Kafka or Redis."""

from typing import Any

import pytest
from pydantic_core import from_json, to_json

from api.states.board import GRACE_MS, YOUNG_MS, Event, PartitionList
from api.states.events import ResetError
from api.states.rows import TenantRow
from schemas.domain.policy import BUILT_IN_RULES, Rules, parse_rules
from schemas.domain.schedule import ParameterSet
from schemas.domain.state import SleepState
from schemas.wire.listing import Rest
from tests.support.sse import parse_block
from tests.support.times import MINUTE, NOW

DEFAULT = BUILT_IN_RULES.terms.schedule[SleepState.active]
OTHER = BUILT_IN_RULES.terms.schedule[SleepState.light]


def _rules(number: int, active: ParameterSet = DEFAULT) -> Rules:
    """Rules of which only the active set matters."""
    sets = {state: active.as_json() for state in ("active", "light", "deep", "freeze")}
    return parse_rules(number, {"schedule": sets})


def asleep(tenant: str, offset: int, until: int | None = None) -> TenantRow:
    """A tenant that sleeps, and is awake and at the default from a time on, if given."""
    value = to_json({"tenant": tenant, "at": offset})
    return TenantRow(tenant, offset, value, None if until is None else Rest(DEFAULT, until))


def awake(tenant: str, offset: int) -> TenantRow:
    """A tenant that is awake at the default."""
    return asleep(tenant, offset, NOW)


def retired(tenant: str, offset: int) -> TenantRow:
    """A tombstone."""
    return TenantRow(tenant, offset, None, None)


class Setup:
    """A list, and its topic, of which each record has the next offset."""

    def __init__(self, *rows: TenantRow, progress: int | None = 10, remembered: int = 100) -> None:
        self.held = PartitionList(0, 4, remembered)
        self.held.begin(progress, BUILT_IN_RULES)
        for row in rows:
            self.held.add(row)
        self.held.rows_end(progress, BUILT_IN_RULES, 0)

    def take(self, row: TenantRow, now: int = NOW) -> Event | None:
        """Append a record to the topic."""
        at = self.held.next
        self.held.pass_over(at, now, now)
        return self.held.take(row, at, now)

    def listed(self, now: int = NOW) -> dict[str, int]:
        """The listed tenants, with the offsets of their positions."""
        return {tenant: entry.offset for tenant, entry in self.held.entries.items() if self.held.listed(tenant, now)}

    def changed(self, since: int) -> list[tuple[str, Any]]:
        """Name and data of each event that a client gets after an id."""
        return [told(Event(tenant, self.held.latest(tenant))) for tenant in self.held.changed(since)]


def told(event: Event | None) -> tuple[str, Any]:
    """Name and data of an event."""
    assert event is not None
    block = parse_block(event.body.decode().removesuffix("\n\n"))
    return block.name, block.data


def test_a_record_after_the_rows_replaces_the_row() -> None:
    """It is told with its own bytes."""
    setup = Setup(asleep("acme", 3))
    row = asleep("acme", 10)
    assert told(setup.take(row)) == ("state", from_json(row.value or b""))
    assert setup.listed() == {"acme": 10}


def test_a_record_before_the_position_of_the_rows_says_nothing_new() -> None:
    """Redis had it when the first slice was read. A row that is missing was not listed."""
    setup = Setup(asleep("acme", 3))
    assert setup.take(asleep("acme", 2)) is None
    assert setup.take(asleep("globex", 9)) is None
    assert setup.listed() == {"acme": 3}


def test_a_record_that_redis_has_lost_counts() -> None:
    """Its position is not below that of the rows, wherever in the topic it is."""
    setup = Setup(asleep("acme", 3))
    assert told(setup.take(awake("acme", 10)))[0] == "gone"
    assert setup.take(asleep("acme", 3)) is None
    assert setup.listed() == {}


def test_a_repeat_and_an_older_record_of_a_listed_tenant_change_nothing() -> None:
    """By position, whatever comes later in the topic."""
    setup = Setup()
    setup.take(asleep("acme", 12))
    assert setup.take(asleep("acme", 12)) is None
    assert setup.take(awake("acme", 11)) is None
    assert setup.listed() == {"acme": 12}


def test_an_older_record_does_not_list_a_tenant_again() -> None:
    """It woke at a later position, which is remembered although it is not listed any more."""
    setup = Setup()
    setup.take(asleep("acme", 11))
    assert told(setup.take(awake("acme", 12))) == ("gone", {"tenant": "acme", "position": "0:12"})
    assert setup.take(asleep("acme", 11)) is None
    assert setup.listed() == {}


def test_a_tombstone_is_told_as_gone() -> None:
    """With the position of the event that retired the tenant."""
    setup = Setup(asleep("acme", 3))
    assert told(setup.take(retired("acme", 14))) == ("gone", {"tenant": "acme", "position": "0:14"})
    assert setup.take(retired("acme", 15)) is None


def test_a_tenant_that_was_not_listed_and_stays_so_is_not_told() -> None:
    """A breaker that reports `closed` every minute costs readers nothing."""
    assert Setup().take(awake("acme", 12)) is None


def test_an_entry_ends_without_a_message_by_its_own_forecast() -> None:
    """From that instant on it is not listed, and a while later it takes no memory."""
    setup = Setup()
    setup.take(asleep("acme", 12, NOW + MINUTE))
    assert setup.listed(NOW + MINUTE - 1) == {"acme": 12}
    assert setup.listed(NOW + MINUTE) == {}
    setup.held.expire(NOW + MINUTE + GRACE_MS - 1)
    assert "acme" in setup.held.entries
    setup.held.expire(NOW + MINUTE + GRACE_MS)
    assert setup.held.entries == {}


def test_a_record_right_after_the_end_is_told_as_gone() -> None:
    """The clock here may be ahead of a reader's, which may still list the tenant."""
    setup = Setup()
    setup.take(asleep("acme", 12, NOW + MINUTE))
    assert told(setup.take(awake("acme", 13), NOW + 2 * MINUTE))[0] == "gone"


def test_a_later_end_replaces_an_earlier_one() -> None:
    """The earlier one ends nothing."""
    setup = Setup()
    setup.take(asleep("acme", 12, NOW + MINUTE))
    setup.take(asleep("acme", 13, NOW + 60 * MINUTE))
    setup.held.expire(NOW + 5 * MINUTE)
    assert setup.listed(NOW + 5 * MINUTE) == {"acme": 13}


def test_ends_that_were_replaced_take_no_memory() -> None:
    """A lease that is renewed for hours."""
    setup = Setup()
    for offset in range(12, 4_000):
        setup.take(asleep("acme", offset, NOW + MINUTE + offset))
    assert len(setup.held._ends) < 1_100  # noqa: SLF001 - nothing public shows memory
    setup.held.expire(NOW + MINUTE + 4_000 + GRACE_MS)
    assert setup.held.entries == {}


# Rules


def test_new_rules_are_told_with_the_default_active_set() -> None:
    """Older or repeated ones are not."""
    setup = Setup()
    name, data = told(setup.held.take_rules(_rules(2, OTHER)))
    assert (name, data["number"], data["partition"], data["partitions"]) == ("rules", 2, 0, 4)
    assert data["active"] == OTHER.as_json()
    assert setup.held.take_rules(_rules(2)) is None
    assert setup.held.take_rules(_rules(1)) is None


def test_a_listed_tenant_stays_listed_under_new_rules_until_its_own_record() -> None:
    """Its ramp ends at what was the default."""
    setup = Setup()
    setup.take(asleep("acme", 12, NOW + MINUTE))
    setup.held.take_rules(_rules(1, OTHER))
    setup.held.expire(NOW + 60 * MINUTE)
    assert setup.listed(NOW + 60 * MINUTE) == {"acme": 12}
    moved = TenantRow("acme", 20, b"{}", Rest(OTHER, NOW + 2 * MINUTE))
    assert told(setup.take(moved))[0] == "state"
    assert setup.listed(NOW + 2 * MINUTE) == {}


def test_rules_say_how_far_the_states_are() -> None:
    """The position of the last event applied, as Redis or the topic has it; none before the first one."""
    assert told(Setup(progress=None).held.rules())[1]["position"] is None
    setup = Setup()
    assert told(setup.held.rules())[1]["position"] == "0:9"
    setup.take(awake("acme", 17))
    assert told(setup.held.rules())[1]["position"] == "0:17"


# Ids


def test_a_client_gets_the_latest_of_each_tenant_that_changed_after_its_id() -> None:
    """Each once, in the order of the changes; one that is not listed any more as gone."""
    setup = Setup()
    setup.take(asleep("acme", 11))
    setup.take(asleep("globex", 12))
    since = setup.held.resumable
    setup.take(awake("globex", 13))
    setup.take(asleep("initech", 14))
    setup.take(asleep("initech", 15))
    assert setup.changed(since) == [
        ("gone", {"tenant": "globex", "position": "0:13"}),
        ("state", {"tenant": "initech", "at": 15}),
    ]
    assert setup.changed(setup.held.resumable) == []


def test_a_record_that_redis_had_is_a_change_too() -> None:
    """Another process gave the id, and its client may not have the record. A tenant without a row is gone as of all."""
    setup = Setup(asleep("acme", 3))
    setup.take(asleep("acme", 3))
    setup.take(asleep("globex", 2))
    assert setup.changed(0) == [
        ("state", {"tenant": "acme", "at": 3}),
        ("gone", {"tenant": "globex", "position": "0:9"}),
    ]


def test_an_id_after_the_end_is_not_of_this_topic() -> None:
    """The topic was recreated."""
    with pytest.raises(ResetError) as error:
        Setup().held.changed(1)
    assert error.value.reason == "beyond_end"


def test_an_id_is_too_old_once_its_changes_were_forgotten() -> None:
    """Only as many tenants as the bound are remembered."""
    setup = Setup(remembered=2)
    for offset, tenant in enumerate(("acme", "globex", "initech"), 11):
        setup.take(asleep(tenant, offset))
    assert [data["tenant"] for _, data in setup.changed(1)] == ["globex", "initech"]
    with pytest.raises(ResetError) as error:
        setup.changed(0)
    assert error.value.reason == "too_old"


def test_an_id_from_before_the_first_young_record_is_too_old() -> None:
    """A tombstone that Kafka has removed may have been in between."""
    setup = Setup()
    for at, timestamp in ((3, NOW - YOUNG_MS), (8, NOW), (9, NOW)):
        setup.held.pass_over(at, timestamp, NOW)
        setup.held.take(asleep(f"tenant-{at}", 9 + at), at, NOW)
    assert [data["tenant"] for _, data in setup.changed(8)] == ["tenant-8", "tenant-9"]
    with pytest.raises(ResetError):
        setup.changed(7)


def test_only_the_end_of_a_topic_without_young_records_can_be_resumed() -> None:
    """A client that heard all of it."""
    setup = Setup()
    setup.held.pass_over(5, NOW - YOUNG_MS, NOW)
    setup.held.caught_up()
    assert setup.changed(6) == []
    with pytest.raises(ResetError):
        setup.changed(5)


# Doubts


def _doubted() -> Setup:
    """A list that has forgotten the position 11 of acme, and then gets the record of 10 again."""
    setup = Setup(remembered=1)
    for row in (asleep("acme", 10), awake("acme", 11), awake("globex", 12)):
        setup.take(row)
    assert setup.take(asleep("acme", 10)) is None
    return setup


def test_a_record_that_may_be_an_old_one_waits_for_redis() -> None:
    """Of a tenant that is not listed, below the positions that were forgotten. Ids do not pass it."""
    setup = _doubted()
    assert setup.listed() == {}
    assert (setup.held.doubts, setup.held.resumable, setup.held.next) == ({"acme": 3}, 3, 4)


def test_what_redis_has_of_a_doubted_tenant_decides() -> None:
    """The record of a later position is told, and an awake tenant is not."""
    for row, expected in ((asleep("acme", 11), ["state"]), (awake("acme", 11), []), (None, [])):
        setup = _doubted()
        assert [told(event)[0] for event in setup.held.settle(13, {"acme": row}, NOW)] == expected
        assert (setup.held.doubts, setup.held.resumable) == ({}, 4)


def test_a_redis_that_went_back_is_not_asked_before_it_has_caught_up() -> None:
    """It would say what was true before."""
    setup = _doubted()
    assert setup.held.settle(12, {"acme": asleep("acme", 10)}, NOW) == []
    assert setup.held.doubts == {"acme": 3}


def test_a_record_of_a_later_position_ends_the_doubt() -> None:
    """It is certainly new."""
    setup = _doubted()
    assert told(setup.take(asleep("acme", 13)))[0] == "state"
    assert (setup.held.doubts, setup.listed()) == ({}, {"acme": 13})


def test_what_a_doubt_brought_reaches_clients_that_were_away() -> None:
    """Their id may be of the moment before."""
    setup = _doubted()
    setup.held.settle(13, {"acme": asleep("acme", 11)}, NOW)
    assert setup.changed(setup.held.next) == [("state", {"tenant": "acme", "at": 11})]
