"""`GET /api/audit`: pages backward over the transitions topic, and who may see which rows."""

import asyncio
import random
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.adapters.places import Places
from api.errors.problems import ProblemError
from api.security.opa import Decision
from api.topic_pages.audit import BOUNDS, EARLY_MS, Audit, AuditQuery
from api.topic_pages.newest_first import AT_ONCE, OF_ONE, NewestFirst
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import UNREADABLE_BATCH, Failure, Unreadable
from tests.support.times import NOW
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.rows_topic import PARTITIONS, FakeRows, row

URL = "/api/audit"
OPERATOR = {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:operate')}"}
ACME = partition_of("acme", PARTITIONS)


async def pages(api: ApiOverFakes, **query: str | int) -> list[dict[str, Any]]:
    """Every page."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["cursor"] is not None:
        cursor = {"cursor": found[-1]["cursor"]} if found else {}
        response = await api.client.get(URL, params={**query, **cursor}, headers=OPERATOR)
        assert response.status_code == 200, response.text
        found.append(response.json())
        assert len(found) < 1_000, "it never ends"
    return found


def ids(found: list[dict[str, Any]]) -> list[str]:
    """The ids of all rows, in their order."""
    return [row["id"] for page in found for row in page["rows"]]


def neighbour(of: str = "acme") -> str:
    """Another tenant of the same partition."""
    return next(
        name
        for name in map("t-{}".format, range(999))
        if partition_of(name, PARTITIONS) == partition_of(of, PARTITIONS)
    )


async def test_a_tenant_sees_its_own_rows_the_newest_first(api: ApiOverFakes) -> None:
    """As they are on the topic; those of a neighbour in the same partition are not among them."""
    first, second = row("acme", 3), row("acme", 5, kind="refusal", code="ttl_out_of_range")
    for each in (first, row(neighbour(), 4), second):
        api.transitions.put(each)
    with capture_logs() as logs:
        answer = await api.client.get(URL, params={"tenant": "acme"})
    assert [entry["tenant"] for entry in logs if entry["event"] == "request"] == ["acme"]
    assert answer.json() == {"rows": [second, first], "cursor": None, "searched_until": None, "unreadable": 0}
    [question] = api.authoriser.questions
    assert (question.action, question.tenant) == ("audit", "acme")
    assert [(payer.kind, budget) for payer, budget in api.limiter.spent] == [("tenant", "audit")]


async def test_the_rows_of_all_tenants_are_merged_by_their_time(api: ApiOverFakes) -> None:
    """Whatever their partitions."""
    written = [row(f"t-{number}", number) for number in range(50)]
    for each in written:
        api.transitions.put(each)
    assert ids(await pages(api, limit=7)) == [each["id"] for each in reversed(written)]
    assert {(question.action, question.tenant) for question in api.authoriser.questions} == {("audit", None)}


async def test_what_the_policy_refuses_is_not_read(api: ApiOverFakes) -> None:
    """Nothing of the topic, whoever asks."""
    api.authoriser.decision = Decision(allow=False, reasons=("no role",), decision_id="d-1")
    for query in ({}, {"tenant": "globex"}):
        answer = await api.client.get(URL, params=query)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert api.transitions.opened == 0


async def test_the_audit_of_another_tenant_is_paid_by_the_reader(api: ApiOverFakes) -> None:
    """So no tenant's budget is used up by others."""
    await api.client.get(URL, params={"tenant": "globex"})
    assert [payer.kind for payer, _ in api.limiter.spent] == ["subject"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [6, 5, 4, 3, 2, 1]),
        ({"kind": "refusal"}, [4, 2]),
        ({"actor": "eve"}, [5, 2]),
        ({"actor": "eve", "kind": "refusal"}, [2]),
        ({"from": NOW + 3}, [6, 5, 4, 3]),
        ({"to": NOW + 3}, [2, 1]),
        ({"from": NOW + 2, "to": NOW + 5}, [4, 3, 2]),
        ({"from": NOW + 7}, []),
        ({"kind": "outcome"}, []),
    ],
)
async def test_only_rows_that_fit_are_shown(api: ApiOverFakes, query: dict[str, Any], expected: list[int]) -> None:
    """`from` is part of the range, and `to` is not."""
    for event in range(1, 7):
        actor = "eve" if event in (2, 5) else "ops@acme"
        api.transitions.put(row("acme", event, actor=actor, kind="refusal" if event in (2, 4) else "transition"))
    found = await pages(api, tenant="acme", **query)
    assert [int(each.split(":")[1]) for each in ids(found)] == expected


async def test_a_repeated_row_is_shown_once_also_in_another_page(api: ApiOverFakes) -> None:
    """A worker that died wrote the rows of a batch again."""
    batch = [row("acme", event) for event in range(100, 400)]
    for each in [*(row("acme", event) for event in range(100)), *batch, *batch[:200], *batch]:
        api.transitions.put(each)
    found = await pages(api, tenant="acme", limit=10)
    assert ids(found) == [f"{ACME}:{event}:0" for event in reversed(range(400))]


async def test_rows_of_a_log_that_was_made_anew_are_others(api: ApiOverFakes) -> None:
    """They have the ids of older rows, and other times."""
    api.transitions.put(row("acme", 5))
    api.transitions.put(row("acme", 5, at=NOW + 900))
    [page] = await pages(api, tenant="acme")
    assert [each["at"] for each in page["rows"]] == [NOW + 900, NOW + 5]


async def test_a_page_reads_so_many_records_and_no_more(api: ApiOverFakes) -> None:
    """It may be empty then, and says how far it has searched. A tenant's own page reads its partition only."""
    other = neighbour()
    oldest = row("acme", 0)
    api.transitions.put(oldest)
    for event in range(1, 3 * BOUNDS.most):
        api.transitions.put(row(other, event))
    read, reached = 0, NOW + 3 * BOUNDS.most
    found: list[dict[str, Any]] = []
    while not found or found[-1]["cursor"] is not None:
        cursor = {"cursor": found[-1]["cursor"]} if found else {}
        found.append((await api.client.get(URL, params={"tenant": "acme", **cursor})).json())
        assert api.transitions.read - read <= BOUNDS.most + 500
        read = api.transitions.read
        if found[-1]["cursor"] is not None:
            assert found[-1]["rows"] == []
            assert found[-1]["searched_until"] < reached
            reached = found[-1]["searched_until"]
    assert 3 < len(found) < 8
    assert found[-1]["rows"] == [oldest]
    assert {number for seek in api.transitions.seeks for number in seek} == {ACME}


async def test_a_search_ends_where_all_was_written_before_its_time(api: ApiOverFakes) -> None:
    """With `from` the log is not read to its beginning. Clocks may differ by two minutes."""
    for event in range(20_000):
        api.transitions.put(row("acme", event, at=NOW + 1_000 * event))
    wanted = NOW + 1_000 * 19_990
    found = await pages(api, tenant="acme", **{"from": wanted})
    assert (len(ids(found)), len(found)) == (10, 1)
    assert (found[0]["cursor"], found[0]["searched_until"]) == (None, wanted)
    assert api.transitions.read < 5_000
    api.transitions.put(row("acme", 20_000, at=wanted + EARLY_MS - 2), at=wanted - 1)
    assert f"{ACME}:20000:0" in ids(await pages(api, tenant="acme", **{"from": wanted}))


async def test_a_row_that_was_written_late_is_found_at_its_own_time(api: ApiOverFakes) -> None:
    """A worker that was away for a day writes an expiration with the time of its deadline."""
    for event in range(10):
        api.transitions.put(row("acme", event))
    late = row(neighbour(), 11, at=NOW + 2)
    api.transitions.put(late, at=NOW + 86_400_000)
    found = await pages(api, **{"from": NOW + 1, "to": NOW + 3})
    assert sorted(ids(found)) == sorted([late["id"], f"{ACME}:1:0", f"{ACME}:2:0"])
    [page] = found
    assert [each["at"] for each in page["rows"]] == sorted((each["at"] for each in page["rows"]), reverse=True)


async def test_what_retention_has_taken_is_not_asked_for(api: ApiOverFakes) -> None:
    """Not by an old cursor either; the answer says that all that is kept was searched."""
    for event in range(100):
        api.transitions.put(row("acme", event))
    api.transitions.kept[ACME] = 60
    found = await pages(api, tenant="acme", limit=30)
    assert len(ids(found)) == 40
    assert found[-1]["searched_until"] is None
    api.transitions.kept[ACME] = 100
    answer = await api.client.get(URL, params={"tenant": "acme", "cursor": found[0]["cursor"]})
    assert (answer.json()["rows"], answer.json()["cursor"]) == ([], None)


async def test_offsets_without_a_record_are_passed_by(api: ApiOverFakes) -> None:
    """Such as those of a transaction, at the end of a chunk or in all of it."""
    for event in range(10):
        api.transitions.put(row("acme", event))
    for offset in (*range(3, 6), 9):
        del api.transitions.records[ACME][offset]
    api.transitions.ends[ACME] = 5_000
    found = await pages(api, tenant="acme")
    assert ids(found) == [f"{ACME}:{event}:0" for event in (8, 7, 6, 2, 1, 0)]


async def test_what_is_no_row_is_counted_and_passed_by(api: ApiOverFakes) -> None:
    """An answer that lacks something says so."""
    api.transitions.put(row("acme", 1))
    wrong = (ACME + 1) % PARTITIONS
    for value in (None, b"{", b"[]", b'{"id":"x"}', b"\xff", b'"' + b"x" * 70_000 + b'"'):
        api.transitions.append(ACME, value, NOW)
    api.transitions.append(ACME, str(row("acme", 2, id=f"{wrong}:2:0")).replace("'", '"').encode(), NOW)
    unreadable = Unreadable("t", ACME, 8, 8, -1, 0, None, b"", (), Failure(UNREADABLE_BATCH, "damaged"))
    api.transitions.records[ACME][8] = unreadable
    api.transitions.ends[ACME] = 9
    [page] = await pages(api, tenant="acme")
    assert (len(page["rows"]), page["unreadable"]) == (1, 8)


async def test_a_partition_that_is_not_available_is_503_and_no_short_answer(api: ApiOverFakes) -> None:
    """The rows of the others would look like all there are."""
    for number in range(50):
        api.transitions.put(row(f"t-{number}", number))
    api.transitions.dead = {ACME}
    api.services.audit._topic._now = api.transitions.monotonic  # noqa: SLF001 - nobody waits in a test
    answer = await api.client.get(URL, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (503, "kafka_unavailable")
    assert answer.headers["retry-after"] == "1"
    other = next(f"t-{number}" for number in range(50) if partition_of(f"t-{number}", PARTITIONS) != ACME)
    assert (await api.client.get(URL, params={"tenant": other})).status_code == 200


async def test_a_slow_topic_gives_short_pages_and_ends_in_time(api: ApiOverFakes) -> None:
    """What was read is answered, with where to go on."""
    api.services.audit._topic._now = api.transitions.monotonic  # noqa: SLF001 - nobody waits in a test
    for event in range(6_000):
        api.transitions.put(row(neighbour(), event))
    api.transitions.takes = 0.9
    found = await pages(api, tenant="acme")
    assert len(found) > 1
    assert found[-1]["cursor"] is None


async def test_without_kafka_there_is_no_audit(api: ApiOverFakes) -> None:
    """503, no empty page."""
    api.transitions.down = ConnectionError("refused")
    answer = await api.client.get(URL, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (503, "kafka_unavailable")


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "-", "1", "1.", ".1", "1.1-", "1.01", "01.1", "-1.5", "1.-5", "1.5 ", "1.5\n", "1.1.1"),
        *("1.5-1.5", "2.1-1.1", "\u0661.5", "1.99999999999999999999", "99999.1", f"{ACME}.11", "0.1-" * 5_000),
        *(f"{(ACME + 1) % PARTITIONS}.1", "0.0"),
    ],
)
async def test_a_text_that_is_no_cursor_of_this_list_is_refused(api: ApiOverFakes, cursor: str) -> None:
    """Also that of another tenant's list, and one that lies behind the end of the log."""
    for event in range(10):
        api.transitions.put(row("acme", event))
    answer = await api.client.get(URL, params={"tenant": "acme", "cursor": cursor})
    if cursor == "0.0" and ACME == 0:
        pytest.skip("that is acme's partition")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["cursor"])
    assert cursor not in answer.json()["detail"] or not cursor.strip("-")


async def test_a_cursor_shows_nobody_what_they_may_not_see(api: ApiOverFakes) -> None:
    """It says where to read, and every row is compared with the tenant all the same."""
    other = neighbour()
    for event in range(100):
        api.transitions.put(row(other if event % 2 else "acme", event))
    everywhere = "-".join(f"{number}.{100 if number == ACME else 0}" for number in range(PARTITIONS))
    for cursor in (everywhere, f"{ACME}.100", f"{ACME}.51"):
        page = (await api.client.get(URL, params={"tenant": "acme", "cursor": cursor})).json()
        assert {each["tenant"] for each in page["rows"]} == {"acme"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"tenant": "a/b"}, "tenant"),
        ({"tenant": ""}, "tenant"),
        ({"from": -1}, "from"),
        ({"to": 2**60}, "to"),
        ({"from": 5, "to": 5}, "from"),
        ({"kind": "all"}, "kind"),
        ({"actor": "x" * 257}, "actor"),
        ({"actor": "a\nb"}, "actor"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
    ],
)
async def test_a_wrong_parameter_is_named(api: ApiOverFakes, query: dict[str, Any], field: str) -> None:
    """422, with the field."""
    answer = await api.client.get(URL, params=query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert api.transitions.opened == 0


async def test_so_many_pages_are_read_at_once_and_fewer_of_one_caller() -> None:
    """The others wait, and are refused if no page ends."""
    topic = FakeRows()
    for event in range(10):
        topic.put(row("acme", event))
    turns = NewestFirst(topic.open, Places(AT_ONCE, OF_ONE, 5.0), BOUNDS, lambda: NOW)
    audit = Audit(turns, PARTITIONS)
    await asyncio.gather(*(audit.page(AuditQuery("acme"), None, 1, holder) for holder in "abcdefgh" * 3))
    assert topic.most_reading == AT_ONCE
    topic.most_reading = 0
    await asyncio.gather(*(audit.page(AuditQuery("acme"), None, 1, "a") for _ in range(10)))
    assert topic.most_reading == OF_ONE
    impatient = NewestFirst(topic.open, Places(AT_ONCE, OF_ONE, 0.0), BOUNDS, lambda: NOW)
    async with (
        impatient.walk("a", bool, partitions=None, cursor=None),
        impatient.walk("a", bool, partitions=None, cursor=None),
    ):
        with pytest.raises(ProblemError, match="2 of one caller") as raised:
            await Audit(impatient, PARTITIONS).page(AuditQuery("acme"), None, 1, "a")
    assert (raised.value.status, raised.value.headers) == (503, {"Retry-After": "1"})


@pytest.mark.parametrize("seed", range(10))
async def test_the_pages_are_all_rows_once_whatever_the_log_looks_like(api: ApiOverFakes, seed: int) -> None:
    """Busy and quiet partitions, repeats, holes, clocks that step back, and a limit that changes on the way."""
    chance = random.Random(seed)
    weights = [chance.choice([0, 1, 40]) for _ in range(60)]
    expected: dict[str, dict[str, Any]] = {}
    recent: list[dict[str, Any]] = []
    for event in range(chance.choice([30, 700, 2_500])):
        tenant = f"t-{chance.choices(range(60), weights)[0]}" if any(weights) else "acme"
        written = row(tenant, event, kind=chance.choice(["transition", "refusal"]))
        expected[written["id"]] = written
        api.transitions.put(written, at=max(1, written["at"] + chance.randrange(-50, 50)))
        recent = [*recent[-30:], written]
        if chance.random() < 0.01:
            for each in recent[chance.randrange(len(recent)) :]:
                api.transitions.put(each, at=NOW + event)
        if chance.random() < 0.01:
            api.transitions.ends[chance.randrange(PARTITIONS)] += chance.choice([1, 700])
    query: dict[str, Any] = {"kind": "refusal"} if chance.random() < 0.5 else {}
    found: list[dict[str, Any]] = []
    while not found or found[-1]["cursor"] is not None:
        cursor = {"cursor": found[-1]["cursor"]} if found else {}
        limit = chance.choice([7, 90, 1000])
        found.append((await api.client.get(URL, params={**query, "limit": limit, **cursor}, headers=OPERATOR)).json())
        assert len(found[-1]["rows"]) <= limit
    wanted = [each for each in expected.values() if each["kind"] in query.get("kind", each["kind"])]
    assert sorted(ids(found)) == sorted(each["id"] for each in wanted)
