"""A request as bytes, and what is set up behind the API before it comes."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self

from tests.support.forged_tokens import ATTACKS
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes

SetUp = Callable[[ApiOverFakes], None]

FORGED: Final = ("expired", "another key", "foreign audience", "no tenant", "crit", "oversized", "rubbish", "alg none")
"""Attacks of which the answers are recorded; test_attacks_token.py has all of them."""
TOKENS: Final[dict[str, Callable[[], str]]] = {
    "good": token,
    "operator": lambda: token(scope="sleep:operate", tenant_id=None, sub="root"),
    "of two tenants": lambda: token(scope="sleep:read-any sleep:emit-any", tenant_id="acme"),
    **{name: partial(str, ATTACKS[name]) for name in FORGED},
}
"""Tokens by a name that stands for them in a header, as in `Bearer @good`."""


def nothing(_: ApiOverFakes) -> None:
    """Set nothing up."""


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        method: of HTTP.
        target: the path with its query.
        headers: in their order; a length is added for a body.
        body: the bytes behind the head.
        set_up: what is done to the fakes before.
        repeat: how often the request is sent; the last answer counts.
        line: the request line, where it is not made of the rest.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None = None
    set_up: SetUp = nothing
    repeat: int = 1
    line: str | None = None

    def headed(self, *headers: tuple[str, str]) -> Self:
        """Return the request with more headers."""
        return replace(self, headers=(*self.headers, *headers))

    def headless(self, *names: str) -> Self:
        """Return the request without these headers."""
        return replace(self, headers=tuple(header for header in self.headers if header[0] not in names))

    def bearing(self, authorization: str) -> Self:
        """Return the request with another token."""
        return self.headless("Authorization").headed(("Authorization", authorization))

    def queried(self, query: str) -> Self:
        """Return the request with a query."""
        return replace(self, target=f"{self.target}?{query}")

    def sending(self, body: bytes | str | object) -> Self:
        """Return the request with another body; what is no text is sent as JSON."""
        match body:
            case bytes():
                return replace(self, body=body)
            case str():
                return replace(self, body=body.encode())
            case _:
                return replace(self, body=json.dumps(body).encode())

    def typed(self, media_type: str | None) -> Self:
        """Return the request with another content type, None for none."""
        bare = self.headless("Content-Type")
        return bare if media_type is None else bare.headed(("Content-Type", media_type))

    def after(self, set_up: SetUp) -> Self:
        """Return the request behind a set-up."""
        return replace(self, set_up=set_up)

    def times(self, repeat: int) -> Self:
        """Return the request sent several times."""
        return replace(self, repeat=repeat)

    def raw(self) -> bytes:
        """Return the bytes of the request."""
        headers = [*self.headers]
        names = {name.lower() for name, _ in headers}
        if self.body is not None and not names & {"content-length", "transfer-encoding"}:
            headers.append(("Content-Length", str(len(self.body))))
        lines = [self.line or f"{self.method} {self.target} HTTP/1.1", *(f"{n}: {_told(v)}" for n, v in headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body or b"")


def _told(value: str) -> str:
    """Return a header's value with the token that it names."""
    scheme, at, name = value.partition("@")
    return f"{scheme}{TOKENS[name]()}" if at and name in TOKENS else value


def chunked(*chunks: bytes) -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def _request(method: str, target: str, body: Any = None, media_type: str = "application/json") -> Case:  # noqa: ANN401
    case = Case(method, target, (("Host", "api"), ("Authorization", "Bearer @good")))
    return case if body is None else case.typed(media_type).sending(body)


EVENT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "7f0c",
    "source": "urn:shop:pod-1",
    "type": "sleep.breaker.v1",
    "subject": "acme",
    "time": "2026-11-22T08:07:17Z",
    "data": {"breaker": "payments", "instance": "pod-1", "state": "open", "occurred_at": 1_795_334_837_000},
}
SLEEP: Final = _request("POST", "/api/util/sleep", {"target_state": "deep", "ttl_seconds": 60})
MODE: Final = _request("POST", "/api/brain/sleep_mode", {"target_state": "light"})
SHOW: Final = _request("GET", "/api/brain/sleep_mode")
EMIT: Final = _request("POST", "/api/breakers/events", EVENT, "application/cloudevents+json")
HOT: Final = {"sleep": SLEEP, "mode": MODE, "show": SHOW, "emit": EMIT}
"""The four hot requests, each good."""
