"""`GET /api/deadletters`: what could not be used, page by page, without its content."""

from typing import Any

import pytest

from api.security.opa import Decision
from schemas.kafka.source_record import UNREADABLE_BATCH, Failure, Unreadable
from tests.support.records import Source
from tests.support.times import NOW
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from worker.fold.dead_letter import dead_letter
from worker.recovery.dead_letters import DeadLetter, RedriveRecord, redrive_output
from worker.recovery.notes import note_of

URL = "/api/deadletters"
OPERATOR = {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:operate')}"}


def put(api: ApiOverFakes, source: Source, failure: Failure, *, partition: int = 2, at: int = NOW) -> None:
    """Append the dead letter that a worker makes of a record."""
    made = dead_letter(source, failure)
    api.dead_letters.append(partition, made.value, at, key=made.key, headers=made.headers)


async def pages(api: ApiOverFakes, **query: str | int) -> list[dict[str, Any]]:
    """Every page."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["cursor"] is not None:
        cursor = {"cursor": found[-1]["cursor"]} if found else {}
        response = await api.client.get(URL, params={**query, **cursor}, headers=OPERATOR)
        assert response.status_code == 200, response.text
        found.append(response.json())
    return found


async def test_a_dead_letter_says_what_it_was_and_how_to_put_it_back(api: ApiOverFakes) -> None:
    """As the worker wrote it; its value and its headers are not shown."""
    put(api, Source(7, NOW - 5, b"acme", b'{"secret": 1}', partition=3), Failure("invalid_event", "state: unknown"))
    [page] = await pages(api)
    assert page == {
        "dead_letters": [
            {
                "place": "2:0",
                "written_at": NOW,
                "code": "invalid_event",
                "message": "state: unknown",
                "topic": page["dead_letters"][0]["topic"],
                "position": "3:7",
                "at": NOW - 5,
                "key": "acme",
                "size": 13,
                "records": 1,
                "redrive": "sleepctl deadletters redrive --partition 2 --offset 0",
            }
        ],
        "cursor": None,
        "searched_until": None,
        "unreadable": 0,
    }
    [question] = api.authoriser.questions
    assert (question.action, question.tenant) == ("inspect", None)


async def test_pages_go_backward_over_all_partitions(api: ApiOverFakes) -> None:
    """However many partitions the topic has, in the order in which they were written."""
    for number in range(300):
        put(api, Source(number, NOW, b"k", b"x"), Failure("undecodable", "no"), partition=number % 8, at=NOW + number)
    found = await pages(api, limit=40)
    offsets = [int(each["position"].split(":")[1]) for page in found for each in page["dead_letters"]]
    assert offsets == [*reversed(range(300))]


async def test_only_one_code_is_listed_where_one_is_asked_for(api: ApiOverFakes) -> None:
    """The others are passed by, and are no damage."""
    put(api, Source(1, NOW, b"k", b"x"), Failure("undecodable", "no"))
    put(api, Source(2, NOW, b"k", b"x"), Failure("oversize", "no"))
    [page] = await pages(api, code="oversize")
    assert ([each["code"] for each in page["dead_letters"]], page["unreadable"]) == (["oversize"], 0)


async def test_notes_of_a_redrive_are_passed_by_and_damage_is_counted(api: ApiOverFakes) -> None:
    """Only what should be a dead letter and is none counts."""
    put(api, Source(1, NOW, b"k", b"x"), Failure("undecodable", "no"))
    made = DeadLetter.of(api.dead_letters.records[2][0])
    note = note_of(RedriveRecord(made, made.topic, 0, redrive_output(made, made)))
    api.dead_letters.append(2, note.value, NOW, headers=note.headers)
    api.dead_letters.append(2, b"x", NOW, headers=[("sleep.error.code", b"x")])
    api.dead_letters.records[2][3] = Unreadable(
        "t", 2, 3, 3, -1, 0, None, b"", (), Failure(UNREADABLE_BATCH, "damaged")
    )
    api.dead_letters.ends[2] = 4
    [page] = await pages(api)
    assert (len(page["dead_letters"]), page["unreadable"]) == (1, 2)


async def test_long_and_strange_texts_are_cut_and_stay_text(api: ApiOverFakes) -> None:
    """Other programs wrote them. The error is at the end of a traceback."""
    failure = Failure("fold_failed", "x" * 5_000 + "\nValueError: end", ours=True)
    put(api, Source(1, NOW, b"\xff\x00" * 5_000, None), failure)
    [page] = await pages(api)
    [shown] = page["dead_letters"]
    assert len(shown["message"]) == 1_024
    assert shown["message"].endswith("ValueError: end")
    assert len(shown["key"]) == 256


async def test_a_flood_says_how_many_it_stands_for(api: ApiOverFakes) -> None:
    """A newer release may add headers."""
    made = dead_letter(Source(1, NOW, None, b"x"), Failure("undecodable", "no"))
    more = [("sleep.error.count", b"412"), ("sleep.error.offsets", b"1-412"), ("sleep.error.mood", b"bad")]
    api.dead_letters.append(0, made.value, NOW, headers=[*made.headers, *more])
    [page] = await pages(api)
    assert [(each["records"], each["key"]) for each in page["dead_letters"]] == [(412, None)]


@pytest.mark.parametrize("query", [{"cursor": "0.5"}, {"cursor": "x"}, {"limit": 501}, {"code": "a\nb"}])
async def test_a_wrong_parameter_is_named(api: ApiOverFakes, query: dict[str, Any]) -> None:
    """422, with the field."""
    answer = await api.client.get(URL, params=query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [*query])


async def test_only_operators_see_them(api: ApiOverFakes) -> None:
    """A dead letter may be of any tenant."""
    api.authoriser.decision = Decision(allow=False, reasons=("no role",), decision_id="d-1")
    assert (await api.client.get(URL)).status_code == 403
    assert api.dead_letters.opened == 0


async def test_without_kafka_there_is_no_list(api: ApiOverFakes) -> None:
    """503, no empty page."""
    api.dead_letters.down = ConnectionError("refused")
    answer = await api.client.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "kafka_unavailable")
