"""OFREP: the flags of a tenant, and one error for each mistake."""

import json
from typing import Any

import httpx
import pytest

from sleep_client import NotReady, NotWatched, TenantState
from sleep_client.flags import KEYS
from tests.support.gate import PARAMETERS, Gate

PATH = "/ofrep/v1/evaluate/flags"
ACME = {"context": {"targetingKey": "acme", "plan": "gold"}}


@pytest.fixture
def gate() -> Gate:
    """A gate for which `acme` is frozen."""
    gate = Gate()
    gate.reader.states["acme"] = TenantState("freeze", PARAMETERS, ends_at=7)
    return gate


async def post(gate: Gate, key: str | None, document: object, **headers: str) -> httpx.Response:
    """Ask for one flag, or for all."""
    path = PATH if key is None else f"{PATH}/{key}"
    content = document if isinstance(document, bytes) else json.dumps(document)
    return await gate.call(path, method="POST", content=content, headers=list(headers.items()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sleep.state", "freeze"),
        ("sleep.K", 100),
        ("sleep.t", 0.5),
        ("sleep.tau", 1.0),
        ("sleep.eta", 0.25),
        ("sleep.lambda", 2.0),
        ("sleep.B", 64.0),
    ],
)
async def test_one_flag(gate: Gate, key: str, value: object) -> None:
    """Of the type that it always has."""
    answer = await post(gate, key, ACME)
    assert answer.status_code == 200
    document = answer.json()
    assert document == {
        "key": key,
        "value": value,
        "reason": "TARGETING_MATCH",
        "variant": "freeze",
        "metadata": {"state": "freeze", "stale": False, "ends_at": 7},
    }
    assert type(document["value"]) is type(value)
    assert (await gate.counted())['sleep_gate_evaluations_total{result="value"}'] == 1


async def test_a_stale_value_says_so(gate: Gate) -> None:
    """By its reason and its metadata."""
    gate.reader.states["acme"] = TenantState("active", PARAMETERS, stale=True)
    document = (await post(gate, "sleep.state", ACME)).json()
    assert (document["reason"], document["metadata"]) == ("STALE", {"state": "active", "stale": True})


@pytest.mark.parametrize("key", [None, "sleep.state"])
@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ({}, 400, "TARGETING_KEY_MISSING"),
        ({"context": {}}, 400, "TARGETING_KEY_MISSING"),
        ({"context": {"targetingKey": ""}}, 400, "TARGETING_KEY_MISSING"),
        ({"context": {"targetingKey": 7}}, 400, "INVALID_CONTEXT"),
        ({"context": {"targetingKey": "no such name"}}, 400, "INVALID_CONTEXT"),
        ({"context": {"targetingKey": "unwatched"}}, 400, "INVALID_CONTEXT"),
        ({"context": []}, 400, "INVALID_CONTEXT"),
        ([], 400, "INVALID_CONTEXT"),
        (b"", 400, "PARSE_ERROR"),
        (b"\xff", 400, "PARSE_ERROR"),
        (b"[" * 60_000, 400, "PARSE_ERROR"),
        (b'{"context": %s}' % (b"9" * 60_000), 400, "PARSE_ERROR"),
        (b" " * 70_000, 413, "INVALID_CONTEXT"),
        ({"context": {"targetingKey": "unknown"}}, 503, "PROVIDER_NOT_READY"),
    ],
)
async def test_a_mistake_has_a_code(gate: Gate, key: str | None, document: Any, status: int, code: str) -> None:  # noqa: ANN401 - any body
    """And a text that says what to do."""
    gate.reader.states["unwatched"] = NotWatched("tenant unwatched")
    gate.reader.states["unknown"] = NotReady("no states yet")
    answer = await post(gate, key, document)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    assert answer.json()["errorDetails"]
    assert answer.headers.get("retry-after") == ("5" if status == 503 else None)


@pytest.mark.parametrize("key", ["sleep.k", "sleep", "sleep.state/x", "", "sleep.freeze"])
async def test_an_unknown_flag(gate: Gate, key: str) -> None:
    """It is 404, whoever asks."""
    answer = await post(gate, key, {})
    assert (answer.status_code, answer.json()["errorCode"], answer.json()["key"]) == (404, "FLAG_NOT_FOUND", key)


async def test_a_parameter_that_the_state_lacks(gate: Gate) -> None:
    """It is no flag, alone or among all."""
    gate.reader.states["acme"] = TenantState("active", {"K": 1})
    assert (await post(gate, "sleep.B", ACME)).status_code == 404
    assert [flag["key"] for flag in (await post(gate, None, ACME)).json()["flags"]] == ["sleep.state", "sleep.K"]


async def test_all_flags_have_a_tag(gate: Gate) -> None:
    """The tag ends with what it names."""
    first = await post(gate, None, ACME)
    assert [flag["key"] for flag in first.json()["flags"]] == list(KEYS)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = await post(gate, None, ACME, **{"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    gate.reader.states["acme"] = TenantState("deep", PARAMETERS)
    changed = await post(gate, None, ACME, **{"If-None-Match": tag})
    assert (changed.status_code, changed.json()["flags"][0]["value"]) == (200, "deep")
    counted = await gate.counted()
    assert counted['sleep_gate_evaluations_total{result="unchanged"}'] == 3


async def test_only_a_post_evaluates(gate: Gate) -> None:
    """Others are told so."""
    answer = await gate.call(PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_body_is_read_up_to_its_bound(gate: Gate) -> None:
    """One of unknown length too; a client that leaves ends the wait."""
    sent: list[Any] = []
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b" " * 30_000, "more_body": True}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's own
        sent.append(message)

    scope = {"type": "http", "path": PATH, "method": "POST", "headers": []}
    await gate.app(scope, receive, send)
    assert (sent[0]["status"], read) == (413, 3)

    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await gate.app(scope, leave, send)
    assert sent[2]["status"] == 400


async def test_a_body_that_does_not_come(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for no longer than its time."""
    monkeypatch.setattr("sleep_client.gate.app._BODY_SECONDS", 0.0)
    sent: list[Any] = []

    async def receive() -> Any:  # noqa: ANN401 - ASGI's own
        raise AssertionError

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's own
        sent.append(message)

    await gate.app({"type": "http", "path": PATH, "method": "POST", "headers": []}, receive, send)
    assert sent[0]["status"] == 408
