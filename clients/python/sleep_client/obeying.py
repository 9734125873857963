"""What the middleware for ASGI and for WSGI and the gate share: the decision about a request, and its denial."""

import json
import logging
import math
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Final, Literal, NamedTuple, Protocol

from sleep_client.reading.errors import NotReady, NotWatched
from sleep_client.reading.tenant_state import STATES, TenantState
from sleep_client.runtime.log import log

KEY: Final = "sleep_client.state"
"""Where a request has the state of its tenant: in the scope of ASGI, in the environment of WSGI."""
REDUCED_CAPACITY: Final = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
RETRY_SECONDS: Final = 5
"""`Retry-After` while the reader is not ready."""
Otherwise = Literal["allow", "deny"]
Reason = Literal["state", "unknown", "no_tenant"]
"""Why a request is denied."""
Headers = list[tuple[str, str]]


class States(Protocol):
    """What is asked of a reader."""

    def state(self, tenant: str) -> TenantState:
        """Return how a tenant sleeps now."""
        ...

    def seconds_in(self, tenant: str, states: Collection[str]) -> float | None:
        """Return after how many seconds a tenant is in none of these states; None if that is not known."""
        ...


class Denial(NamedTuple):
    """An answer in place of that of the application."""

    status: int
    headers: Headers
    body: bytes
    reason: Reason


class Form(NamedTuple):
    """With which status a request is denied: for its state, if that is not known, and without a tenant."""

    state: int = 503
    unknown: int = 503
    no_tenant: int = 400


class Guard:
    """Decides about requests.

    Args:
        reader: knows the states.
        deny: the states in which requests are denied.
        not_ready: what happens while the reader does not know the tenant's state.
        no_tenant: what happens to a request without a tenant, or with a name that no tenant can have.
        form: the statuses of denials.

    Raises:
        ValueError: if an argument is none of these.
    """

    def __init__(
        self,
        reader: States,
        deny: Collection[str],
        not_ready: Otherwise,
        no_tenant: Otherwise,
        form: Form = Form(),  # noqa: B008 - it cannot be changed
    ) -> None:
        if isinstance(deny, str) or not STATES.issuperset(deny):
            raise ValueError(f"deny: use a set of {', '.join(sorted(STATES))}, not {deny!r:.60}")
        for name, value in (("not_ready", not_ready), ("no_tenant", no_tenant)):
            if value not in ("allow", "deny"):
                raise ValueError(f"{name}: use 'allow' or 'deny', not {value!r:.40}")
        self._reader = reader
        self._deny = frozenset(deny)
        self._not_ready = not_ready
        self._no_tenant = no_tenant
        self._form = form
        self._said: set[str] = set()

    def check(self, tenant: str | None) -> TenantState | Denial | None:
        """Return the state of a request's tenant, the answer that denies it, or None: allowed without a state."""
        if tenant is None:
            return self._without_tenant("the request names no tenant")
        try:
            state = self._reader.state(tenant)
        except ValueError:
            return self._without_tenant("the request names no valid tenant")
        except (NotReady, NotWatched) as error:
            return self._unknown(error)
        if state.state not in self._deny:
            return state
        seconds = self._reader.seconds_in(tenant, self._deny)
        retry = {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}
        detail = f"Tenant {tenant} is in state {state.state}. Try again later."
        return self._deny_for("state", REDUCED_CAPACITY, "Temporary Reduced Capacity", detail, retry)

    def _without_tenant(self, finding: str) -> Denial | None:
        self._say(finding, self._no_tenant)
        if self._no_tenant == "allow":
            return None
        title = HTTPStatus(self._form.no_tenant).phrase
        return self._deny_for("no_tenant", "about:blank", title, f"It is not allowed: {finding}.", {})

    def _unknown(self, error: NotReady | NotWatched) -> Denial | None:
        self._say("not watched" if isinstance(error, NotWatched) else "not ready", self._not_ready, str(error))
        if self._not_ready == "allow":
            return None
        detail = "It is not known whether the tenant sleeps. Try again later."
        title = HTTPStatus(self._form.unknown).phrase
        return self._deny_for("unknown", "about:blank", title, detail, {"Retry-After": str(RETRY_SECONDS)})

    def _deny_for(self, reason: Reason, kind: str, title: str, detail: str, more: Mapping[str, str]) -> Denial:
        status: int = getattr(self._form, reason)
        body = json.dumps({"type": kind, "title": title, "status": status, "detail": detail}).encode()
        headers = {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
        }
        return Denial(status, [*headers.items(), *more.items()], body, reason)

    def _say(self, finding: str, otherwise: Otherwise, detail: str = "") -> None:
        """Log the first of each kind: requests would otherwise fill the log."""
        if finding not in self._said:
            self._said.add(finding)
            what = "allowed without a state" if otherwise == "allow" else "denied"
            reason = f"{finding} ({detail})" if detail else finding
            log.log(logging.WARNING, "Requests are %s: %s. This is said once.", what, reason)
