"""The limit of a tenant on ingress: what passes, what waits, and what takes another's place."""

import json
import random
from collections import defaultdict

import pytest

from tests.support.times import MINUTE, T
from worker.ingress.tenant_limit import ROOM, ROOM_BYTES, Admitted, Normalised, TenantLimit
from worker.ports import Output

MOST = 2_000


def event(
    state: str = "open", *, tenant: str = "acme", instance: str = "1", at: int | None = T, size: int = 0
) -> Normalised:
    """Return an event from ingress; `size` is that of its value."""
    value = json.dumps({"state": state, "at": at}).encode().ljust(size)
    return Normalised(tenant, ("payments", instance), at, Output(tenant.encode(), value), "open")


class Partition:
    """A partition of an ingress topic, whose records have an offset each and arrive at a time."""

    def __init__(self, limit: int) -> None:
        self.limit = TenantLimit(limit)
        self.now = 10_000
        self.offset = 0

    def take(self, *events: Normalised, timestamp: int = T) -> Admitted | None:
        """Take a record with these events."""
        self.offset += 1
        return self.limit.admit(events, self.offset - 1, timestamp, self.now)

    def passing(self, *events: Normalised, timestamp: int = T) -> list[Normalised]:
        """Take a record, and return what of it passes at once."""
        admitted = self.take(*events, timestamp=timestamp)
        assert admitted is not None
        return admitted.passing

    def due(self, seconds: float = 0.0) -> list[Normalised]:
        """Return what is due after a while."""
        self.now += round(seconds * 1_000)
        return self.limit.due(self.now, MOST)


def test_below_the_limit_everything_passes_at_once() -> None:
    """As it came, for any number of tenants."""
    partition = Partition(10)
    for second in range(20):
        for number in range(10):
            for tenant in ("acme", "globex"):
                given = event(tenant=tenant, at=T + second * 10 + number)
                assert partition.passing(given) == [given]
        partition.now += 1_000
    assert (len(partition.limit), partition.limit.first, partition.limit.next_due()) == (0, None, None)


def test_above_the_limit_events_wait_for_their_turn_in_order() -> None:
    """A second's worth passes at once, then one each tenth of a second."""
    partition = Partition(10)
    events = [event(instance=str(number)) for number in range(15)]
    assert [given for given in events if partition.passing(given)] == events[:10]
    assert (len(partition.limit), partition.limit.first) == (5, 10)
    seen: list[Normalised] = []
    for _ in range(5):
        assert partition.due() == []
        due = partition.limit.next_due()
        assert due is not None
        assert partition.now + 90 <= due <= partition.now + 101
        partition.now = due
        seen += partition.due()
    assert seen == events[10:]
    assert partition.limit.first is None


def test_a_tenant_above_its_limit_costs_no_other_tenant_anything() -> None:
    """Each has its own."""
    partition = Partition(1)
    for number in range(ROOM):
        partition.passing(event(instance=str(number)))
    calm = event(tenant="globex")
    assert partition.passing(calm) == [calm]


@pytest.mark.parametrize(
    ("first", "second", "timestamp", "replaced"),
    [
        (T, T + 1, T, True),
        (T, T, T, True),
        (T, T - 1, T, False),
        (T, T + MINUTE, T, True),
        (T, T + MINUTE + 1, T, False),
        (None, T, T, False),
        (T, None, T, False),
        (T, T + 1, -1, False),
    ],
)
def test_a_later_event_of_the_same_breaker_takes_the_waiting_ones_place(
    first: int | None,
    second: int | None,
    timestamp: int,
    replaced: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """If it is not earlier, and not further ahead of its record than the fold allows."""
    partition = Partition(1)
    partition.passing(event())
    assert partition.passing(event("open", at=first)) == []
    admitted = partition.take(event("closed", at=second), timestamp=timestamp)
    assert admitted == Admitted([], int(not replaced), int(replaced))
    # The offset is that of the first event which the slot stands for.
    assert partition.limit.first == 1
    expected = [event("closed", at=second)] if replaced else [event("open", at=first), event("closed", at=second)]
    assert [partition.due(1.0) for _ in expected] == [[given] for given in expected]
    assert partition.limit.first is None


@pytest.mark.parametrize("other", [event(instance="2"), event(tenant="globex")])
def test_an_event_of_another_instance_or_tenant_replaces_nothing(other: Normalised) -> None:
    """Nor one of another breaker."""
    partition = Partition(1)
    for given in (event(), event(tenant="globex")):
        assert partition.passing(given) == [given]
    for given in (event(), other, other._replace(claim=("orders", "1"))):
        assert partition.passing(given) == []
    assert len(partition.limit) == 3


def test_a_replaced_event_keeps_its_turn() -> None:
    """One that is replaced again and again is published all the same."""
    partition = Partition(1)
    partition.passing(event())
    partition.passing(event(instance="2"))
    partition.passing(event(instance="3"))
    for number in range(1_000):
        partition.passing(event(instance="2", at=T + number))
    assert partition.due(1.0) == [event(instance="2", at=T + 999)]
    partition.passing(event(instance="2", at=T + 2_000))
    assert [partition.due(1.0), partition.due(1.0)] == [[event(instance="3")], [event(instance="2", at=T + 2_000)]]


def test_behind_a_waiting_event_the_next_ones_wait_though_the_tenant_has_a_turn() -> None:
    """Or a later one would overtake it."""
    partition = Partition(1)
    partition.passing(event())
    partition.passing(event(instance="2"))
    partition.now += 5_000
    assert partition.passing(event(instance="3")) == []
    assert [each.claim[1] for each in partition.due() + partition.due(1.0)] == ["2", "3"]


def test_a_tenant_has_room_for_so_many_events_and_known_breakers_need_none() -> None:
    """What finds no room is told, and nothing of its record waits."""
    partition = Partition(1)
    partition.passing(event())
    for number in range(ROOM):
        assert partition.take(event(instance=str(number))) is not None
    assert partition.take(event(instance="new")) is None
    assert partition.take(event("closed", instance="7")) == Admitted([], 0, 1)
    assert partition.take(event("closed", instance="8"), event(instance="new")) is None
    assert partition.passing(event(tenant="globex")) == [event(tenant="globex")]
    assert len(partition.limit) == ROOM
    partition.due(1.0)
    assert partition.take(event(instance="new")) == Admitted([], 1, 0)


def test_all_tenants_together_have_room_for_so_many_bytes() -> None:
    """Which is given back as they are published or replaced."""
    partition = Partition(1)
    large = ROOM_BYTES // 4
    for tenant in "abcde":
        partition.passing(event(tenant=tenant))
    for tenant in "abcd":
        assert partition.take(event(tenant=tenant, size=large)) is not None
    assert partition.take(event(tenant="e", size=100)) is None
    assert partition.take(event(tenant="a", size=100)) == Admitted([], 0, 1)
    assert partition.take(event(tenant="e", size=100)) is not None
    assert len(partition.due(1.0)) == 5
    assert partition.take(event(tenant="a", size=ROOM_BYTES)) is not None


def test_where_there_is_no_room_left_a_batch_of_a_tenant_below_its_limit_passes() -> None:
    """However many events it has, up to those for which the tenant has a turn."""
    partition = Partition(2)
    partition.passing(event(tenant="loud"), event(tenant="loud", instance="2"))
    assert partition.take(event(tenant="loud", instance="3", size=ROOM_BYTES - 1_000)) is not None
    two = [event(tenant="globex", size=600), event(tenant="globex", instance="2", size=600)]
    assert partition.take(*two) == Admitted(two, 0, 0)
    three = [event(tenant="calm", instance=str(number), size=1_200) for number in range(3)]
    assert partition.take(*three) is None, "the third has no turn, and there is no room for it to wait"


def test_not_more_than_asked_for_is_due_at_a_time_and_each_tenant_has_its_turn() -> None:
    """A step publishes a bounded number, and begins where the last one ended."""
    partition = Partition(100)
    for tenant in "abc":
        for number in range(150):
            partition.passing(event(tenant=tenant, instance=str(number)))
    partition.now += 1_000
    matching = [partition.limit.due(partition.now, 40) for _ in range(5)]
    assert [len(some) for some in matching] == [40, 40, 40, 30, 0]
    assert [some[0].tenant for some in matching[:3]] == ["a", "b", "c"]


def test_names_of_tenants_are_forgotten() -> None:
    """An emitter may send any number of them."""
    partition = Partition(100)
    for second in range(10):
        for number in range(1_000):
            partition.passing(event(tenant=f"t-{second}-{number}"))
        partition.now += 1_001
    partition.passing(event())
    assert len(vars(partition.limit)["_next"]) == 1


def test_nothing_is_lost_and_the_last_state_of_each_breaker_comes_last() -> None:
    """The rate is held over each second, and the offset to go on from never passes what waits."""
    chance = random.Random(13)
    partition = Partition(20)
    last: dict[tuple[str, tuple[str, str]], Normalised] = {}
    published: dict[tuple[str, tuple[str, str]], Normalised] = {}
    times: defaultdict[str, list[int]] = defaultdict(list)

    def publish(events: list[Normalised]) -> None:
        for each in events:
            published[each.tenant, each.claim] = each
            times[each.tenant].append(partition.now)

    for number in range(20_000):
        given = event(
            chance.choice(("open", "closed")), tenant=chance.choice("ab"), instance=str(chance.randrange(30)),
            at=T + number,
        )  # fmt: skip
        last[given.tenant, given.claim] = given
        publish(partition.passing(given, timestamp=T + number))
        if chance.random() < 0.05:
            partition.now += chance.randrange(200)
            publish(partition.due())
    while len(partition.limit):
        publish(partition.due(0.05))
    assert published == last
    for each in times.values():
        for begin in range(len(each) - 41):
            assert each[begin + 41] - each[begin] > 1_000
