"""Bounds on the JSON of requests: members, names that are there twice, depth, and all of it together."""

import json
from base64 import b64encode
from typing import Any, Final

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.commands import cloudevents
from api.errors.problems import ProblemError
from api.http import bodies
from api.http.head_bounds import MOST_PARAMETERS
from api.http.json_bounds import COMMAND_PARTS, EVENT_PARTS, MOST_DEPTH, MOST_MEMBERS, require_bounded
from api.http.prefer import Preference, parse_prefer
from schemas.wire.cloudevents import parse
from schemas.wire.events import BreakerEvent
from tests.support.operations import outcome
from tests.unit.api.application import ApiOverFakes

SLEEP, MODE, POLICY = "/api/util/sleep", "/api/brain/sleep_mode", "/api/brain/sleep_policy"
PREVIEW, EVENTS = f"{POLICY}/preview", "/api/breakers/events"
BODIES: Final = [("POST", SLEEP), ("POST", MODE), ("PUT", POLICY), ("POST", PREVIEW), ("POST", EVENTS)]
JSON, EVENT_JSON = "application/json", "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
DATA: Final = {"breaker": "payments", "state": "open"}
ATTRIBUTES: Final = {"specversion": "1.0", "id": "1", "source": "s", "type": "sleep.breaker.v1", "subject": "acme"}
UNKNOWN: Final = json.dumps({f"k{index}": 0 for index in range(6_200)}, separators=(",", ":")).encode()
TWICE: Final = [
    b'{"a": 1, "a": 1}',
    b'{"a": 1, "b": {}, "a": {}}',
    b'{"a":"x","\\u0061":"y"}',
    b'{"b": [1, {"a": 1, "a": [2]}]}',
    b'[{"a": 1}, {"b": {"c": {"d": 1 , "d" : 1}}}]',
    '{"é": 1, "\\u00e9": 2}'.encode(),
    b'{"\\"": 1, "\\u0022": 2}',
    b'{"": 1, "": 2}',
]
ONCE: Final = [
    b'{"a": "a", "b": "a"}',
    b'{"a": {"a": {"a": 1}}}',
    b'[{"a": 1}, {"a": 1}]',
    b'{"a": "\\"a\\": 1, \\"a\\": 2"}',
    b'{"a": ["a", "a", {"a": "}{"}], "b": "[[[["}',
    b'{"a": 1, "A": 1, "a ": 1}',
    b'{"a\\\\": 1, "a": "\\\\"}',
]


async def send(api: ApiOverFakes, method: str, path: str, content: bytes, media_type: str = JSON) -> httpx.Response:
    """Send a body as it is."""
    headers = {"Content-Type": media_type, "If-Match": "*"}
    return await api.client.request(method, path, content=content, headers=headers)


def refused(document: bytes, most_parts: int = COMMAND_PARTS) -> str | None:
    """Return the code with which a document is refused, None where it passes."""
    try:
        require_bounded(document, most_parts)
    except ProblemError as error:
        return error.code
    return None


# The look at the structure


@pytest.mark.parametrize("document", TWICE)
def test_a_name_that_is_there_twice_is_refused(document: bytes) -> None:
    """However it is spelled, and wherever the object is."""
    assert refused(document) == "malformed_request"


@pytest.mark.parametrize("document", ONCE)
def test_what_only_looks_like_a_name_is_none(document: bytes) -> None:
    """A value, a text that holds JSON, and the names of other objects."""
    json.loads(document)
    assert refused(document) is None


@pytest.mark.parametrize("inside", ["%s", '{"a": %s}', "[[%s]]", '{"a": [{"b": %s}]}'])
def test_an_object_has_32_members_at_most(inside: str) -> None:
    """In any place; with one more it is refused there, whatever comes behind."""
    members = ",".join(f'"k{index}": [{{}}, "x"]' for index in range(MOST_MEMBERS))
    assert refused((inside % f"{{{members}}}").encode()) is None
    assert refused((inside % f'{{{members}, "one": 1}}').encode()) == "invalid_request"
    assert refused((inside % f'{{{members}, "one": 1 this is no JSON').encode()) == "invalid_request"


def test_nesting_has_a_bound() -> None:
    """In whichever mixture."""
    for opening, closing in (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")):
        levels = MOST_DEPTH // (opening.count("[") + opening.count("{"))
        assert refused((opening * levels + "0" + closing * levels).encode()) is None
        assert refused((opening * (levels + 1) + "0" + closing * (levels + 1)).encode()) == "malformed_request"


@pytest.mark.parametrize(
    "part", ["0,", '"",', "[],", "{},", '{"a":1},', '"', ",", "{", "[", "}", "]", '"a":', '"a",', "{}[]"]
)
def test_no_document_is_looked_at_to_its_end_where_it_holds_too_much(part: str) -> None:
    """Whether it is JSON or not, the look ends: what one part costs bounds what all of it costs."""
    repeated = 65_536 // len(part)
    assert refused(b"[" + part.encode() * repeated) in {"invalid_request", "malformed_request"}


@pytest.mark.parametrize("rest", ["\\", '\\"', "a", "\\\\", " ", ":"])
def test_a_string_without_an_end_is_read_once(rest: str) -> None:
    """So 64 KiB cost a look at 64 KiB: there is nothing to come back to. The parser says that it is no JSON."""
    assert refused(b'{"' + rest.encode() * (65_000 // len(rest))) is None


JSON_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES, st.booleans(), st.booleans())
def test_json_within_the_bounds_passes_in_any_spelling(value: Any, indented: bool, ascii_only: bool) -> None:  # noqa: ANN401, FBT001 - any JSON
    """No object of a Python value has a name twice."""
    text = json.dumps(value, indent=2 if indented else None, ensure_ascii=ascii_only)
    assert refused(text.encode(errors="replace"), EVENT_PARTS) in {None, *({"malformed_request"} & _depth(value))}


def _depth(value: object) -> set[str]:
    """Return the refusal of what is nested too deep."""
    levels, pending = 0, [(value, 1)]
    while pending:
        item, level = pending.pop()
        if isinstance(item, dict | list):
            levels = max(levels, level)
            pending += [(inner, level + 1) for inner in (item.values() if isinstance(item, dict) else item)]
    return {"malformed_request"} if levels > MOST_DEPTH else set()


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=5), st.integers(0, 3))
def test_a_name_is_found_twice_exactly_where_it_is(names: list[str], around: int) -> None:
    """Against Python's own reader of pairs."""
    text = "[" * around + "{" + ", ".join(f'"{name}": "{name}"' for name in names) + "}" + "]" * around
    assert (refused(text.encode()) is None) == (len(set(names)) == len(names))


# At the door


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_thousands_of_members_are_refused_before_anything_is_built(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """No parser is asked, nor the policy; on every route that takes a body."""

    def build(*_: object, **__: object) -> None:
        raise AssertionError("a document was built")

    monkeypatch.setattr(bodies, "from_json", build)
    monkeypatch.setattr(cloudevents, "read_json", build)
    response = await send(api, method, path, UNKNOWN)
    assert len(UNKNOWN) < 65_536
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert len(response.json()["errors"]) == 1
    assert (api.authoriser.questions, api.log.published) == ([], [])


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_a_body_with_a_name_twice_is_400(api: ApiOverFakes, method: str, path: str) -> None:
    """Whoever stands between may have read the other one."""
    content = b'{"target_state": "light", "ttl_seconds": 1, "target_state": "freeze"}'
    response = await send(api, method, path, content)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert "'target_state' twice" in response.json()["detail"]
    assert (api.authoriser.questions, api.log.published) == ([], [])


def _event(**changes: object) -> str:
    return json.dumps(ATTRIBUTES | {"data": DATA} | changes)


INNER: Final = '{"breaker": "payments", "state": "closed", "state": "open"}'
HIDDEN: Final[dict[str, tuple[str | bytes, str]]] = {
    "in data": (_event(data="?").replace('"?"', INNER), EVENT_JSON),
    "among the attributes": (_event().replace('"id": "1"', '"id": "1", "id": "2"'), EVENT_JSON),
    "in a batch": (f"[{_event()}, {_event(data='?').replace(chr(34) + '?' + chr(34), INNER)}]", BATCH),
    "in data as text": (_event(data=INNER), EVENT_JSON),
    "in data_base64": (
        json.dumps(ATTRIBUTES | {"data_base64": b64encode(INNER.encode()).decode()}),
        EVENT_JSON,
    ),
    "in data_base64 in UTF-16": (
        json.dumps(ATTRIBUTES | {"data_base64": b64encode(INNER.encode("utf-16")).decode()}),
        EVENT_JSON,
    ),
    "in a batch's data as text": (f"[{_event(data=INNER)}]", BATCH),
    "in UTF-16": (_event(data="?").replace('"?"', INNER).encode("utf-16"), EVENT_JSON),
    "in UTF-32": (_event(data="?").replace('"?"', INNER).encode("utf-32-le"), EVENT_JSON),
    "behind a byte order mark": (b"\xef\xbb\xbf" + _event(data="?").replace('"?"', INNER).encode(), EVENT_JSON),
}


@pytest.mark.parametrize("form", HIDDEN)
async def test_no_form_of_an_event_hides_a_name_that_is_there_twice(api: ApiOverFakes, form: str) -> None:
    """What the parser reads, the look has seen."""
    content, media_type = HIDDEN[form]
    response = await send(api, "POST", EVENTS, content if isinstance(content, bytes) else content.encode(), media_type)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert api.log.published == []


@pytest.mark.parametrize("content", [INNER, json.dumps(INNER)])
async def test_binary_mode_hides_none_either(api: ApiOverFakes, content: str) -> None:
    """The body is the data, or text that is."""
    headers = {f"ce-{name}": value for name, value in ATTRIBUTES.items()} | {"Content-Type": JSON}
    response = await api.client.post(EVENTS, content=content.encode(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


def test_the_logs_decoder_is_no_stricter() -> None:
    """What Kafka took it takes: old logs are folded again. Of a name that is there twice the last one counts."""
    many = {f"x{index}": [[[index]]] for index in range(2_000)}
    assert parse(_event(**many).encode()).id == "1"
    event = parse(_event(data="?").replace('"?"', INNER).encode())
    assert isinstance(event, BreakerEvent)
    assert event.data.state == "open"


async def test_an_event_has_32_attributes_at_most(api: ApiOverFakes) -> None:
    """In headers as in a body, extensions among them."""
    for extensions, status in ((MOST_MEMBERS - len(ATTRIBUTES), 202), (MOST_MEMBERS - len(ATTRIBUTES) + 1, 422)):
        more = {f"x{index}": "1" for index in range(extensions)}
        headers = {f"ce-{name}": value for name, value in (ATTRIBUTES | more).items()} | {"Content-Type": JSON}
        assert (await api.client.post(EVENTS, json=DATA, headers=headers)).status_code == status
        more = dict.fromkeys(list(more)[1:], "1")  # `data` is a member too
        assert (await send(api, "POST", EVENTS, _event(**more).encode(), EVENT_JSON)).status_code == status


async def test_the_most_events_that_fit_are_taken(api: ApiOverFakes) -> None:
    """A batch may have its events."""
    api.limiter.amount = 1_000
    event = json.dumps(ATTRIBUTES | {"subject": "a", "data": {"breaker": "b", "state": "open"}}, separators=(",", ":"))
    count = 65_534 // (len(event) + 1)
    response = await send(api, "POST", EVENTS, f"[{','.join([event] * count)}]".encode(), BATCH)
    assert (response.status_code, response.json()) == (202, {"accepted": count})
    assert count > 500


async def test_the_largest_policy_is_taken(api: ApiOverFakes) -> None:
    """A policy's list may have its 32 rules; one more is the policy's own finding."""
    api.replies.answer = outcome(type="policy", expires_at=None)
    rule = {"match": "é" * 200, "open": "deep", "half_open": "light", "quorum": 2, "lease_seconds": 0.5}
    levels = {
        state: {"K": 1, "t": 0.5, "tau": 0.5, "eta": 0, "lambda": 0, "B": 1}
        for state in ("active", "light", "deep", "freeze")
    }
    policy: dict[str, Any] = {
        "floor": "active",
        "ceiling": "freeze",
        "enforce": True,
        "min_sleep_seconds": 1,
        "max_ttl_seconds": 60,
        "ramp_seconds": {"deepen": 1, "wake": 1},
        "breakers": [rule] * 32,
        "schedule": levels,
    }
    response = await send(api, "PUT", POLICY, json.dumps(policy, indent=1).encode())
    assert response.status_code == 200, response.text
    response = await send(api, "PUT", POLICY, json.dumps(policy | {"breakers": [rule] * 33}).encode())
    assert (response.status_code, response.json()["code"]) == (422, "invalid_policy")
    assert response.json()["errors"] == [{"field": "breakers", "reason": "at most 32 rules"}]


# What comes in the head


@pytest.mark.parametrize("path", [MODE, "/api/tenants", "/healthz"])
async def test_thousands_of_query_parameters_are_refused_before_they_are_parsed(api: ApiOverFakes, path: str) -> None:
    """Before the token too: the framework would parse them for each dependency of a route."""
    query = "&".join(f"k{index}" for index in range(9_000))
    response = await api.client.get(f"{path}?{query}", headers={"Authorization": "none"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert len(response.json()["errors"]) == 1
    response = await api.client.get(f"{path}?{'&'.join(['limit=1'] * MOST_PARAMETERS)}")
    assert response.status_code == (200 if path == "/healthz" else 422)


async def test_cookies_are_not_parsed(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """No route reads one; 64 KiB of them would take 20 ms of everybody."""

    def parse(*_: object) -> None:
        raise AssertionError("cookies were parsed")

    monkeypatch.setattr("starlette.requests.cookie_parser", parse)
    assert (await api.client.get(MODE, headers={"Cookie": "a=b;" * 15_000})).status_code == 200


async def test_no_header_is_a_list_without_end(api: ApiOverFakes) -> None:
    """Tags, preferences and the attributes of an event."""
    tags = ", ".join(f'"{number}"' for number in range(33))
    response = await api.client.put(POLICY, json={}, headers={"If-Match": tags})
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert parse_prefer(["a, " * 31 + "wait=3", "wait=4"]) == Preference(wait=3)
    assert parse_prefer(["a, " * 32 + "wait=3"]) == Preference()
    for name in ("ce-id", "ce-x"):
        headers = {f"ce-{key}": value for key, value in ATTRIBUTES.items()} | {
            name: "\\a" * 2_049,
            "Content-Type": JSON,
        }
        response = await api.client.post(EVENTS, json=DATA, headers=headers)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, name)
