"""The table: every hot request, good and bad, by a name that says what is asked of it."""

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.unit.api.hot.case import EMIT, EVENT, FORGED, HOT, MODE, SHOW, SLEEP, Case, chunked
from tests.unit.api.hot.situations import COMMANDS, COMMON, EMITS, READS, allowing, answers, refuses

DATA: Final = EVENT["data"]
BATCH: Final = "application/cloudevents-batch+json"
TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
GOOD_SLEEP: Final[dict[str, Any]] = {"target_state": "deep", "ttl_seconds": 60}
GOOD_MODE: Final[dict[str, Any]] = {"target_state": "light"}
DOCUMENTS: Final[dict[str, bytes | str | object]] = {
    "nothing": b"",
    "no JSON": b"{",
    "no JSON at its end": b'{"target_state": "light"} x',
    "no UTF-8": b'{"reason": "\xff"}',
    "half of a surrogate pair": b'{"target_state": "light", "reason": "\\ud800"}',
    "NaN": b'{"target_state": "light", "ttl_seconds": NaN}',
    "a name twice": b'{"target_state": "light", "target_state": "deep"}',
    "a name twice, spelled otherwise": b'{"target_state": "light", "t\\u0061rget_state": "deep"}',
    "nested too deep": "[" * 17 + "]" * 17,
    "too many members": {f"k{index}": 0 for index in range(40)},
    "too many parts": "[" + "0," * 9_000 + "0]",
    "a number": 1,
    "null": "null",
    "a text": '"light"',
    "a list": [GOOD_MODE],
    "an empty object": {},
    "an unknown field": GOOD_SLEEP | {"x": 1},
    "a field misspelled": {"target_stat": "light", "ttl_second": 1},
    "many unknown fields": {f"k{index}": index for index in range(30)},
}
"""Bodies that no request of any kind may have."""
FIELDS: Final[dict[str, dict[str, Any]]] = {
    "no such state": {"target_state": "asleep"},
    "the state of another type": {"target_state": 1},
    "the state null": {"target_state": None},
    "the state in upper case": {"target_state": "DEEP"},
    "the TTL a text": {"ttl_seconds": "60"},
    "the TTL a flag": {"ttl_seconds": True},
    "the TTL a list": {"ttl_seconds": []},
    "the TTL 0": {"ttl_seconds": 0},
    "the TTL negative": {"ttl_seconds": -1},
    "the TTL below a millisecond": {"ttl_seconds": 0.0001},
    "the TTL with four decimals": {"ttl_seconds": 1.0005},
    "the TTL above all": {"ttl_seconds": 1e15},
    "the TTL above a double": {"ttl_seconds": 10**400},
    "the TTL without an end": {"ttl_seconds": 1e308},
    "the reason a number": {"reason": 1},
    "the reason empty": {"reason": ""},
    "the reason too long": {"reason": "a" * 1_025},
    "the reason with a line break": {"reason": "a\nb"},
    "the trace a number": {"trace_id": 7},
    "the trace too long": {"trace_id": "a" * 257},
    "the trace with a space": {"trace_id": "a b"},
    "async_mode a text": {"async_mode": "yes"},
    "async_mode a number": {"async_mode": 1},
    "async_mode null": {"async_mode": None},
    "async_mode": {"async_mode": True},
    "reason and trace": {"reason": "incident 7: émeute", "trace_id": "t-1"},
    "several": {"target_state": 1, "ttl_seconds": "x", "reason": 1, "trace_id": 1},
}
"""Changes of a good body; some of them are good too."""
OF_SLEEP: Final[dict[str, dict[str, Any]]] = {
    "no TTL": {"target_state": "deep"},
    "the TTL null": GOOD_SLEEP | {"ttl_seconds": None},
    "the state active": GOOD_SLEEP | {"target_state": "active"},
    "a field of a mode": GOOD_SLEEP | {"override": True},
}
OF_MODE: Final[dict[str, dict[str, Any]]] = {
    "awake": {"target_state": "active"},
    "awake with a TTL": {"target_state": "active", "ttl_seconds": 1},
    "a pin": {"target_state": "deep", "override": True, "ttl_seconds": 1},
    "a pin without a TTL": {"target_state": "deep", "override": True},
    "a pin to active without a TTL": {"target_state": "active", "override": True},
    "the pin removed": {"target_state": "active", "override": True, "ttl_seconds": None},
    "override a text": {"target_state": "deep", "override": "yes"},
    "override null": {"target_state": "deep", "override": None},
    "no state": {"override": True},
}
HEADS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "a token twice": (("Authorization", "Bearer @good"),),
    "a tenant": (("X-Tenant-Id", "globex"),),
    "a tenant twice": (("X-Tenant-Id", "acme"), ("X-Tenant-Id", "globex")),
    "no tenant's name": (("X-Tenant-Id", "no tenant"),),
    "an empty tenant": (("X-Tenant-Id", ""),),
    "a request id": (("X-Request-Id", "0192F1A0-0000-7000-8000-00000000000A"),),
    "a request id that is none": (("X-Request-Id", "7"),),
    "two request ids": (("X-Request-Id", "0" * 32), ("X-Request-Id", "1" * 32)),
    "a trace": (("traceparent", TRACE),),
    "a trace that is none": (("traceparent", TRACE.upper()),),
    "cookies": (("Cookie", "a=b; c=d"), ("Cookie", "e=f")),
    "close": (("Connection", "close"),),
}
OF_WIRE: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "an upgrade": (("Connection", "Upgrade"), ("Upgrade", "h2c")),
    "130 fields": tuple((f"X-{number}", "1") for number in range(130)),
    "70,000 bytes": (("X-Long", "a" * 70_000),),
    "two hosts": (("Host", "other"),),
    "a name with a space": (("X Y", "1"),),
}
OF_COMMAND: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "a key": (("Idempotency-Key", '"7 of 9"'),),
    "a bare key": (("Idempotency-Key", "7of9"),),
    "a key twice": (("Idempotency-Key", "a"), ("Idempotency-Key", "a")),
    "a key too long": (("Idempotency-Key", "a" * 129),),
    "an empty key": (("Idempotency-Key", ""),),
    "a key with a quote": (("Idempotency-Key", 'a"b'),),
    "wait": (("Prefer", "wait=3"),),
    "respond-async": (("Prefer", "respond-async"), ("Prefer", "wait=0")),
}
OF_BODY: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "compressed": (("Content-Encoding", "gzip"),),
    "compressed twice": (("Content-Encoding", "identity"), ("Content-Encoding", "br")),
    "not compressed": (("Content-Encoding", "identity"),),
    "length above the bound": (("Content-Length", "65537"),),
    "length of 30 digits": (("Content-Length", "9" * 30),),
    "length that is none": (("Content-Length", "x"),),
    "length and chunks": (("Content-Length", "2"), ("Transfer-Encoding", "chunked")),
    "another coding": (("Transfer-Encoding", "gzip, chunked"),),
}
TARGETS: Final = {
    "an unknown parameter": "x=1",
    "a parameter twice": "target_state=deep&target_state=light",
    "an empty name": "=1",
    "65 parameters": "&".join(["limit=1"] * 65),
    "25 parameters": "&".join(f"limit{number}=1" for number in range(25)),
}
LINES: Final = {
    "an absolute target": "{method} http://api{target} HTTP/1.1",
    "another host's target": "{method} http://other{target} HTTP/1.1",
    "a fragment": "{method} {target}#a HTTP/1.1",
    "a slash at the end": "{method} {target}/ HTTP/1.1",
    "dots": "{method} /a/..{target} HTTP/1.1",
    "a hidden slash": "{method} {target}%2f HTTP/1.1",
    "HTTP/1.0": "{method} {target} HTTP/1.0",
    "HTTP/1.2": "{method} {target} HTTP/1.2",
    "RTSP": "{method} {target} RTSP/1.0",
    "no method": "YODEL {target} HTTP/1.1",
    "half a line": "{method}",
}
TYPES: Final = {
    "no type": None,
    "plain text": "text/plain",
    "a form": "application/x-www-form-urlencoded",
    "JSON with a charset": "Application/JSON; charset=UTF-8",
    "a vendor's JSON": "application/vnd.x+json",
    "two types": "application/json, text/plain",
}
EVENTS: Final[dict[str, dict[str, Any]]] = {
    "no subject": {"subject": None},
    "no tenant as subject": {"subject": "no tenant"},
    "another tenant": {"subject": "globex"},
    "an older version": {"specversion": "0.3"},
    "a command": {"type": "sleep.mode.v1"},
    "no time": {"time": None},
    "a time that is none": {"time": "today"},
    "a time before 1970": {"time": "1969-12-31T23:59:59Z"},
    "data of a time before 1970": {"data": DATA | {"occurred_at": -1}},
    "data that is text": {"data": "open"},
    "data that is a text of JSON": {"data": json.dumps(DATA)},
    "data with a name twice": {"data": '{"breaker": "a", "breaker": "b", "state": "open"}'},
    "no such state": {"data": DATA | {"state": "ajar"}},
    "no breaker": {"data": {"state": "open"}},
    "the source too long": {"source": "s" * 300},
    "extensions": {f"x{number}": "1" for number in range(10)},
    "too many extensions": {f"x{number}": "1" for number in range(40)},
}
BATCHES: Final[dict[str, list[Any]]] = {
    "none": [],
    "three of two tenants": [EVENT, EVENT | {"subject": "globex"}, EVENT | {"id": "2"}],
    "one wrong": [EVENT, EVENT | {"subject": None}],
    "all wrong": [{}] * 30,
    "one in another": [[EVENT]],
    "two before 1970": [EVENT, EVENT | {"time": "1960-01-01T00:00:00Z"}, EVENT | {"data": DATA | {"occurred_at": -5}}],
}
BINARY: Final = (("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", "sleep.breaker.v1"))


def _of_all(name: str, case: Case) -> Iterator[tuple[str, Case]]:
    yield f"{name}: good", case
    for situation, set_up in COMMON.items():
        yield f"{name}: {situation}", case.after(set_up)
    for text in ("", "Bearer", "Bearer ", "bearer @good", "Basic YTpi", "Token @good", "Bearer @good @good"):
        yield f"{name}: Authorization {text!r}", case.bearing(text)
    yield f"{name}: no Authorization", case.headless("Authorization")
    for token in ("operator", "of two tenants"):
        yield f"{name}: a token {token}", case.bearing(f"Bearer @{token}")
    yield f"{name}: an operator's, for a tenant", case.bearing("Bearer @operator").headed(("X-Tenant-Id", "globex"))
    for head, headers in HEADS.items():
        yield f"{name}: {head}", case.headed(*headers)
    for query, text in TARGETS.items():
        yield f"{name}: {query}", case.queried(text)
    for method in ("PATCH", "HEAD", "OPTIONS"):
        yield f"{name}: {method}", replace(case, method=method)
    yield f"{name}: refused before", case.queried("x=1").after(allowing(2)).times(3)


def _of_wire(name: str, case: Case) -> Iterator[tuple[str, Case]]:
    """What has nothing to do with the route."""
    for head, headers in OF_WIRE.items():
        yield f"{name}: {head}", case.headed(*headers)
    for line, text in LINES.items():
        yield f"{name}: {line}", replace(case, line=text.format(method=case.method, target=case.target))
    yield f"{name}: no host", case.headless("Host")


def _of_bodies(name: str, case: Case) -> Iterator[tuple[str, Case]]:
    for document, body in DOCUMENTS.items():
        yield f"{name}: {document}", case.sending(body)
    for head, headers in OF_BODY.items():
        yield f"{name}: {head}", case.headed(*headers)
    for label, media_type in TYPES.items():
        yield f"{name}: {label}", case.typed(media_type)
        yield f"{name}: {label}, and no JSON", case.typed(media_type).sending(b"a=b")
    good = case.body or b""
    coded = case.headed(("Transfer-Encoding", "chunked"))
    yield f"{name}: chunks", coded.sending(chunked(good[:5], good[5:]))
    yield f"{name}: too large", case.sending(b" " * 65_537)
    yield f"{name}: too large in chunks", coded.sending(chunked(*[b" " * 16_384] * 5))
    yield f"{name}: broken chunks", coded.sending(b"x\r\n")
    yield f"{name}: spaces up to the bound", case.sending(good + b" " * (65_536 - len(good)))


def _of_commands(
    name: str, case: Case, good: dict[str, Any], own: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, Case]]:
    for situation, set_up in COMMANDS.items():
        yield f"{name}: {situation}", case.after(set_up)
    for field, change in FIELDS.items():
        yield f"{name}: {field}", case.sending(good | change).after(answers())
    for field, body in own.items():
        yield f"{name}: {field}", case.sending(body).after(answers())
    for head, headers in OF_COMMAND.items():
        yield f"{name}: {head}", case.headed(*headers).after(answers())
        yield f"{name}: {head}, and no answer", case.headed(*headers)
    yield (
        f"{name}: a key of another decision",
        case.headed(("Idempotency-Key", "k")).after(refuses("idempotency_conflict")),
    )
    yield f"{name}: refused before by the log", case.after(allowing(3, refuses("too_many_operations"))).times(4)
    largest = good | {"reason": "é" * 256, "x": "\u0001" * 10_000}
    yield f"{name}: an event that is larger than its body", case.sending(largest)


def _of_events() -> Iterator[tuple[str, Case]]:
    for situation, set_up in EMITS.items():
        yield f"emit: {situation}", EMIT.after(set_up)
    for event, change in EVENTS.items():
        body = {name: value for name, value in (EVENT | change).items() if value is not None}
        yield f"emit: {event}", EMIT.sending(body)
    for batch, events in BATCHES.items():
        yield f"emit: batch, {batch}", EMIT.sending(events).typed(BATCH)
        yield f"emit: batch as plain JSON, {batch}", EMIT.sending(events).typed("application/json")
    yield "emit: batch, too many for the limit", EMIT.sending([EVENT] * 7).typed(BATCH).after(allowing(6))
    two = [EVENT] * 2 + [EVENT | {"subject": "globex"}] * 3
    yield "emit: batch, too many for one of two", EMIT.sending(two).typed(BATCH).after(allowing(2))
    bare = {name: value for name, value in EVENT.items() if name != "data"}
    yield "emit: data_base64", EMIT.sending(bare | {"data_base64": b64encode(json.dumps(DATA).encode()).decode()})
    yield "emit: data_base64 that is none", EMIT.sending(bare | {"data_base64": "{}"})
    yield "emit: UTF-16", EMIT.sending(json.dumps(EVENT).encode("utf-16"))
    binary = EMIT.sending(DATA).typed("application/json").headed(*BINARY)
    yield "emit: binary", binary.headed(("ce-subject", "acme"))
    yield "emit: binary, no subject", binary
    yield "emit: binary, an attribute twice", binary.headed(("ce-subject", "acme"), ("CE-Subject", "globex"))
    yield "emit: binary, an attribute too long", binary.headed(("ce-subject", "a" * 5_000))
    yield "emit: binary, an attribute that is no text", binary.headed(("ce-subject", "%ff"))
    yield "emit: binary, 40 attributes", binary.headed(*((f"ce-x{number}", "1") for number in range(40)))
    yield "emit: binary, no JSON", binary.headed(("ce-subject", "acme")).sending(b"{")


def _table() -> Iterator[tuple[str, Case]]:
    for name, case in HOT.items():
        yield from _of_all(name, case)
        if case.body is not None:
            yield from _of_bodies(name, case)
    yield from _of_wire("sleep", SLEEP)
    yield from _of_commands("sleep", SLEEP, GOOD_SLEEP, OF_SLEEP)
    yield from _of_commands("mode", MODE, GOOD_MODE, OF_MODE)
    yield from _of_events()
    for situation, set_up in READS.items():
        yield f"show: {situation}", SHOW.after(set_up)
    yield "show: a body", SHOW.sending(b"{}")
    for token in FORGED:
        yield f"show: token, {token}", SHOW.bearing(f"Bearer @{token}")


CASES: Final[dict[str, Case]] = dict(_table())
