"""CPU by bodies and heads: what is read before it is known who asks, and forms that a proxy reads otherwise."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Final, NamedTuple

from pydantic_core import to_json

from tests.attack.attack import Attack, BrokenError
from tests.attack.target import EMIT, MODE, POLICY, SLEEP, Target
from tests.attack.wire import ask, bearer, request
from tests.support.random_bodies import BODIES, random_body

# The median of others, on two cores that the attackers share; without bounds it was 165 times as long.
_SLOWER: Final = 15.0
_CONNECTIONS: Final = 8
_MOST_BYTES: Final = 64_000
_SCOPES: Final = "sleep:read sleep:write sleep:policy sleep:override sleep:emit"
_BATCH: Final = "application/cloudevents-batch+json"
_EVENT: Final = "application/cloudevents+json"
_REFUSED: Final = frozenset({400})
_NOT_TAKEN: Final = frozenset({400, 404, 413, 422})
_RANDOM_BODIES: Final = 300
_SERVER_ERROR: Final = 500


def _unknown_keys() -> bytes:
    return to_json({f"k{number}": 0 for number in range(6_200)})[: _MOST_BYTES - 1].rpartition(b",")[0] + b"}"


def _nested() -> bytes:
    return b'{"reason":' + b"[" * 30_000 + b"]" * 30_000 + b"}"


def _many_rules() -> bytes:
    return to_json({"breakers": [{"match": f"{number}"} for number in range(3_500)]})


def _many_events() -> bytes:
    return b"[" + b",".join([b'{"id":"1","a":1}'] * 3_500) + b"]"


async def _slowed(path: str, content_type: str, body: Callable[[], bytes], scope: str, target: Target) -> float:
    """Return how much slower others are while eight connections send a body again and again."""
    method = "PUT" if path == POLICY else "POST"
    headers = bearer(target.token(target.tenant(), scope)) | {"Content-Type": content_type, "If-Match": "*"}
    raw = request(method, path, headers, body())

    async def one() -> None:
        while True:
            await ask(target.door.url, raw)

    async def attack() -> None:
        await asyncio.gather(*(one() for _ in range(_CONNECTIONS)))

    return await target.slowdown(attack())


class Form(NamedTuple):
    """A request that must be refused, and with which statuses."""

    name: str
    raw: bytes
    statuses: frozenset[int] = _REFUSED


def _duplicates(tenant: str, headers: dict[str, str]) -> list[Form]:
    """Return bodies in which an object has a name twice."""
    sleep = b'{"target_state":"light","ttl_seconds":1,"target_state":"freeze"}'
    event = b'{"specversion":"1.0","id":"1","source":"u","type":"sleep.breaker.v1","subject":"%b",%b}'
    good = b'"data":{"breaker":"b","state":"open"}'
    twice = b'"data":{"breaker":"b","state":"open","state":"closed"}'
    who = tenant.encode()
    bodies = [
        ("POST", SLEEP, "application/json", sleep),
        ("POST", SLEEP, "application/json", sleep.replace(b'"target_state":"f', b'"target_\\u0073tate":"f')),
        ("POST", MODE, "application/json", b'{"target_state":"active","target_state":"light"}'),
        ("PUT", POLICY, "application/json", b'{"floor":"active","floor":"light"}'),
        ("PUT", POLICY, "application/json", b'{"ramp_seconds":{"wake":1,"wake":2}}'),
        ("PUT", POLICY, "application/json", b'{"breakers":[{"match":"a","match":"b"}]}'),
        ("POST", f"{POLICY}/preview", "application/json", b'{"floor":"active","floor":"light"}'),
        ("POST", EMIT, _EVENT, event % (who, good + b"," + good)),
        ("POST", EMIT, _EVENT, event % (who, twice)),
        ("POST", EMIT, _EVENT, event % (who, b'"subject":"other",' + good)),
        ("POST", EMIT, _BATCH, b"[" + event % (who, twice) + b"]"),
    ]
    return [
        Form(f"a name twice, {method} {path}", request(method, path, headers | {"Content-Type": kind}, body))
        for method, path, kind, body in bodies
    ]


def _heads(token: str) -> list[Form]:
    """Return heads that two servers read in two ways."""
    credentials = f"Authorization: Bearer {token}\r\n".encode()
    line = f"GET {MODE} HTTP/1.1\r\n".encode()
    json = b"Content-Type: application/json\r\n"
    post = f"POST {MODE} HTTP/1.1\r\nHost: api\r\n".encode() + credentials + json
    chunked = b'\r\n1a\r\n{"target_state":"active"}\n\r\n0\r\n\r\n'
    paths = ["/api%2fbrain%2fsleep_mode", "/api%2Fbrain/sleep_mode", "/api/brain%2fsleep_mode"]
    others = [
        "/%61pi/brain/sleep_mode",
        "/api/brain/sleep%5Fmode",
        "/api/x/../brain/sleep_mode",
        "//api/brain/sleep_mode",
        "/api%5cbrain/sleep_mode",
        "/api/brain/sleep_mode%00",
        "/api/brain/sleep_mode/%2e%2e/sleep_mode",
    ]
    return [
        Form("no Host", line + credentials + b"\r\n"),
        Form("two Hosts", line + b"Host: api\r\nHost: other\r\n" + credentials + b"\r\n"),
        Form("the same Host twice", line + b"Host: api\r\nHost: api\r\n" + credentials + b"\r\n"),
        Form("an empty Host beside one", line + b"Host:\r\nHost: api\r\n" + credentials + b"\r\n"),
        Form("gzip, chunked", post + b"Transfer-Encoding: gzip, chunked\r\n" + chunked),
        Form(
            "gzip and chunked in two lines",
            post + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n" + chunked,
        ),
        Form("identity, chunked", post + b"Transfer-Encoding: identity, chunked\r\n" + chunked),
        Form("chunked twice", post + b"Transfer-Encoding: chunked, chunked\r\n" + chunked),
        Form("chunked with a length", post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" + chunked),
        Form("two lengths", post + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}\n"),
        Form("a length with a sign", post + b"Content-Length: +3\r\n\r\n{}\n"),
        Form("a folded field", line + b"Host: api\r\n x: y\r\n" + credentials + b"\r\n"),
        Form("a blank before a colon", line + b"Host : api\r\n" + credentials + b"\r\n"),
        *(Form(path, request("GET", path, bearer(token))) for path in paths),
        *(Form(path, request("GET", path, bearer(token)), _NOT_TAKEN) for path in others),
    ]


async def _taken(forms: Callable[[Target], list[Form]], target: Target) -> float:
    """Return how many forms are not refused as they must be."""
    taken = [
        f"{form.name} ({status})"
        for form in forms(target)
        if (status := await ask(target.door.url, form.raw)) not in form.statuses
    ]
    for name in taken:
        print(f"           {name}", flush=True)
    return float(len(taken))


def _duplicate_forms(target: Target) -> list[Form]:
    tenant = target.tenant()
    return _duplicates(tenant, bearer(target.token(tenant, _SCOPES)) | {"If-Match": "*"})


def _head_forms(target: Target) -> list[Form]:
    return _heads(target.token(target.tenant(), _SCOPES))


def _many_members(target: Target) -> list[Form]:
    tenant = target.tenant()
    headers = bearer(target.token(tenant, _SCOPES))
    fields = {"specversion": "1.0", "id": "1", "source": "u", "type": "sleep.breaker.v1", "subject": tenant}
    event = fields | {"data": {"breaker": "b", "state": "open"}} | {f"x{number}": "y" for number in range(40)}
    data = fields | {"data": {"breaker": "b", "state": "open"} | {f"x{number}": "y" for number in range(40)}}
    return [
        Form(
            "an event of 46 members",
            request("POST", EMIT, headers | {"Content-Type": _EVENT}, to_json(event)),
            _NOT_TAKEN,
        ),
        Form(
            "data of 42 members", request("POST", EMIT, headers | {"Content-Type": _EVENT}, to_json(data)), _NOT_TAKEN
        ),
        Form(
            "a batch with one of 46",
            request("POST", EMIT, headers | {"Content-Type": _BATCH}, to_json([event])),
            _NOT_TAKEN,
        ),
    ]


async def _random_bodies(target: Target) -> float:
    """Return how many of hundreds of random bodies are answered with 5xx."""
    chance, failures, answered = random.Random(13), 0, 0
    for (method, path), _ in zip(cycle(BODIES), range(_RANDOM_BODIES), strict=False):
        headers = bearer(target.token(target.tenant(), _SCOPES)) | {"If-Match": "*", "Prefer": "respond-async"}
        status = await ask(target.door.url, request(method, path, headers, random_body(chance)))
        failures += status >= _SERVER_ERROR
        answered += status > 0
    if answered < _RANDOM_BODIES:
        raise BrokenError(f"{_RANDOM_BODIES - answered} requests had no answer")
    return float(failures)


ATTACKS: Final = (
    Attack(
        "5",
        "objects of 6,200 unknown keys with a token without a scope",
        _SLOWER,
        "times as long for others",
        partial(_slowed, SLEEP, "application/json", _unknown_keys, ""),
    ),
    Attack(
        "5",
        "objects of 6,200 unknown keys with every scope",
        _SLOWER,
        "times as long for others",
        partial(_slowed, MODE, "application/json", _unknown_keys, _SCOPES),
        short=False,
    ),
    Attack(
        "5",
        "bodies nested 30,000 deep",
        _SLOWER,
        "times as long for others",
        partial(_slowed, SLEEP, "application/json", _nested, _SCOPES),
        short=False,
    ),
    Attack(
        "5",
        "policies of 3,500 rules",
        _SLOWER,
        "times as long for others",
        partial(_slowed, POLICY, "application/json", _many_rules, _SCOPES),
        short=False,
    ),
    Attack(
        "5",
        "batches of 3,500 events without a scope",
        _SLOWER,
        "times as long for others",
        partial(_slowed, EMIT, _BATCH, _many_events, ""),
        short=False,
    ),
    Attack("15", "objects with a name twice", 0, "taken", partial(_taken, _duplicate_forms)),
    Attack("15", "heads that two servers read in two ways", 0, "taken", partial(_taken, _head_forms)),
    Attack("5", "objects of more than 32 members", 0, "taken", partial(_taken, _many_members)),
    Attack("held", "300 random bodies", 0, "answered with 5xx", _random_bodies),
)
