"""An API with tenants, in memory. It remembers commands by their key, as the log does."""

import base64
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from pydantic_core import from_json, to_json

from schemas.domain.policy import parse_policy
from schemas.wire.operation_ids import operation_id_of
from sleepctl.io.api_client import Answer

Headers = Mapping[str, str]


def token_of(subject: object) -> str:
    """A token of a subject, signed by nobody."""
    claims = base64.urlsafe_b64encode(to_json({"sub": subject})).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


class Tenants:
    """The tenants of an API.

    Attributes:
        states: the state of each tenant.
        applied: the tenants whose command was applied, each time that it was.
        live: the live operations of a tenant.
        policies: the version and the policy of a tenant; a policy of None is the default.
        instead: answers given in place of the usual one; each is called with method, path and tenant.
        calls: every request: method, path, tenant, body and headers.
    """

    def __init__(self, *names: str, state: str = "freeze", subject: str = "ops") -> None:
        self.states = dict.fromkeys(names, state)
        self.applied: Counter[str] = Counter()
        self.live: dict[str, list[str]] = {}
        self.policies: dict[str, tuple[int, dict[str, Any] | None]] = {}
        self.instead: list[Callable[[str, str, str | None], Answer | None]] = []
        self.calls: list[tuple[str, str, str | None, Any, Headers]] = []
        self.page = 2
        self._subject = subject
        self._known: dict[str, Answer] = {}

    async def call(
        self,
        method: str,
        path: str,
        *,
        tenant: str | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Headers | None = None,
    ) -> Answer:
        """Answer a request of a run, as an `ApiClient` would."""
        return self.answer(method, path, tenant, body, headers or {})

    def transport(self) -> httpx.MockTransport:
        """The same behind httpx."""

        def respond(request: httpx.Request) -> httpx.Response:
            body = from_json(request.content) if request.content else None
            path = request.url.raw_path.decode()
            status, document, headers = self.answer(
                request.method, path, request.headers.get("X-Tenant-Id"), body, request.headers
            )
            return httpx.Response(status, content=to_json(document), headers=dict(headers))

        return httpx.MockTransport(respond)

    def answer(self, method: str, path: str, tenant: str | None, body: Any, headers: Headers) -> Answer:  # noqa: ANN401
        """Answer a request."""
        self.calls.append((method, path, tenant, body, headers))
        for instead in self.instead:
            if (given := instead(method, path, tenant)) is not None:
                return given
        url = urlsplit(path)
        if tenant is None:
            return self._list({name: values[0] for name, values in parse_qs(url.query).items()})
        if method == "GET":
            return self._get(url.path, tenant)
        id_ = operation_id_of(tenant, self._subject, headers["Idempotency-Key"])
        if id_ not in self._known:
            self._known[id_] = self._apply(method, url.path, tenant, body, headers, id_)
        return self._known[id_]

    def _list(self, query: dict[str, str]) -> Answer:
        names = [name for name in self.states if query.get("state", self.states[name]) == self.states[name]]
        first = int(query.get("cursor", "0"))
        entries = [
            {"tenant_id": name, "state": self.states[name], "policy_version": self.policies.get(name, (0, None))[0]}
            for name in names[first : first + self.page]
        ]
        cursor = str(first + self.page) if first + self.page < len(names) else None
        return Answer(200, {"tenants": entries, "cursor": cursor, "counts": {}, "open_ended": 0}, {})

    def _get(self, path: str, tenant: str) -> Answer:
        if path == "/api/util/sleep":
            return Answer(200, {"operations": [{"operation_id": id_} for id_ in self.live.get(tenant, [])]}, {})
        if path == "/api/brain/sleep_policy":
            version, policy = self.policies.get(tenant, (0, None))
            shown = {
                "policy": parse_policy(policy or {}).document,
                "policy_version": version,
                "default": policy is None,
            }
            return Answer(200, shown, {})
        known = self._known.get(path.rpartition("/")[2])
        if known is None:
            return problem(404, "unknown_operation", "the tenant has no operation with this id")
        return known

    def _apply(self, method: str, path: str, tenant: str, body: Any, headers: Headers, id_: str) -> Answer:  # noqa: ANN401
        if path == "/api/brain/sleep_policy":
            version = self.policies.get(tenant, (0, None))[0]
            if headers["If-Match"] not in ("*", f'"{version}"'):
                return problem(412, "version_conflict", "the policy has another version")
            self.policies[tenant] = version + 1, body
        if method == "DELETE" and path.startswith("/api/util/sleep/"):
            operation = unquote(path.rpartition("/")[2])
            if operation not in self.live.get(tenant, []):
                return problem(409, "not_running", "it has ended")
            self.live[tenant].remove(operation)
        self.applied[tenant] += 1
        return Answer(200, {"operation_id": id_, "status": "completed", "code": None, "state": "active"}, {})


def problem(status: int, code: str, detail: str, **headers: str) -> Answer:
    """An answer that is a problem."""
    return Answer(status, {"title": code, "detail": detail, "code": code}, httpx.Headers(headers))


def once(answer: Answer, times: int = 1, method: str = "", path: str = "") -> Callable[..., Answer | None]:
    """Give an answer some times to requests with this method and path, then the usual one."""
    left = [times]

    def give(given_method: str, given_path: str, _tenant: str | None) -> Answer | None:
        if left[0] and method in ("", given_method) and path in given_path:
            left[0] -= 1
            return answer
        return None

    return give
