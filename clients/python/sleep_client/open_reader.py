"""What both readers share: their arguments, and their answers."""

import logging
import math
import random
import secrets
import weakref
from collections.abc import Callable, Collection, Iterable
from typing import ClassVar, Final, NamedTuple, get_args

import httpx

from sleep_client.protocol.names import check_tenant
from sleep_client.reading.errors import NotReady
from sleep_client.reading.session import ReaderStatus, Session, WhenStale
from sleep_client.reading.tenant_state import STATES, TenantState
from sleep_client.reading.tenants import Tenants
from sleep_client.runtime.address import check_token, read_url, tls_context
from sleep_client.runtime.clock import seconds
from sleep_client.runtime.follower import Follower
from sleep_client.runtime.forks import watch
from sleep_client.runtime.log import log
from sleep_client.runtime.stream import StreamOpener
from sleep_client.runtime.tokens import TokenFunction

MOST_TENANTS: Final = 200
"""What the server accepts in one list."""


class Change(NamedTuple):
    """Something has changed.

    Attributes:
        status: of the reader, now.
        tenants: those whose records have changed. None if any may have: after a change of the status, a snapshot, or
            new rules. What the forecast named before comes without a change.
    """

    status: ReaderStatus
    tenants: frozenset[str] | None


class OpenReader:
    """A reader, without what runs it. See `SleepReader` for the arguments."""

    _transport: ClassVar[Callable[[], httpx.AsyncBaseTransport] | None] = None
    """Makes a transport in place of that which opens connections."""

    def __init__(
        self,
        url: str,
        token: str | TokenFunction,
        tenants: Iterable[str] | None,
        initial: TenantState | None,
        max_stale_seconds: float,
        when_stale: WhenStale,
        on_change: Callable[[Change], None] | None,
    ) -> None:
        if not 0 <= max_stale_seconds < math.inf:
            raise ValueError(f"max_stale_seconds: use 0 or more, not {max_stale_seconds!r:.40}")
        if when_stale not in get_args(WhenStale):
            raise ValueError(f"when_stale: use 'hold' or 'wake', not {when_stale!r:.40}")
        if initial is not None and getattr(initial, "state", None) not in STATES:
            raise ValueError("initial: use a TenantState, such as TenantState('active', {'K': 100})")
        watched = None if tenants is None else _names(tenants)
        address = read_url(url)
        # Jitter keeps readers from calling in step; it protects nothing.
        jitter = random.Random(secrets.randbits(64)).random  # noqa: S311 - as above
        self._on_change = on_change
        self._seen_status = ReaderStatus.NOT_READY
        self._tenants = Tenants(watched, initial)
        self._session = Session(
            self._tenants, str(address), when_stale, max_stale_seconds, jitter, renews=callable(token)
        )
        self._log_time = self._session.clock.at
        # The follower outlives a reader that was dropped, for a moment.
        changed: weakref.ReferenceType[Callable[[], None]] = weakref.WeakMethod(self._changed)
        self._follower = Follower(
            self._session,
            StreamOpener(address, tls_context(address), watched, type(self)._transport),  # noqa: SLF001 - its own
            token if callable(token) else check_token(token),
            seconds,
            lambda: _call(changed),
        )
        watch(self, _after_fork)

    def state(self, tenant: str) -> TenantState:
        """Return how a tenant sleeps now: from memory, without waiting for anything.

        Raises:
            NotReady: if no states have come yet and no `initial` was given, after `close`, and after a fork.
            NotWatched: if the tenant is not in `tenants`.
            ValueError: if no tenant can have this name.
        """
        return self._tenants.at(tenant, self._log_time(seconds()))

    def seconds_in(self, tenant: str, states: Collection[str]) -> float | None:
        """Return after how many seconds a tenant will be in none of these states, if nothing else happens.

        None if that is not known: the tenant is not listed, or no end is in its forecast.
        """
        now = self._log_time(seconds())
        at = self._tenants.leaves_at(tenant, states, now)
        return None if at is None else (at - now) / 1000

    @property
    def status(self) -> ReaderStatus:
        """Whether the states are those of an open stream."""
        return self._session.status

    def _refusal(self, timeout: float) -> NotReady:
        """Return the error of a wait for `READY` that has failed."""
        why = self._session.finding or "no answer has come yet"
        if self.status is ReaderStatus.ERROR:
            return NotReady(f"the reader gets no states: {why}")
        return NotReady(f"the reader was not ready within {timeout:g} s: {why}")

    def _changed(self) -> None:
        """Tell of what has changed; called in the reader's thread or loop."""
        status = self._session.status
        if status is not self._seen_status:
            self._seen_status = status
            self._tell_waiters()
        tenants = self._session.changed.take()
        if self._on_change is None or tenants == frozenset():
            return
        try:
            self._on_change(Change(status, tenants))
        except Exception as error:  # noqa: BLE001 - the stream goes on, whatever a function of the caller does
            log.log(logging.ERROR, "on_change raised %s", type(error).__name__)

    def _tell_waiters(self) -> None:
        """Wake those that wait for another status."""
        raise NotImplementedError

    def _after_fork(self) -> None:
        """Know nothing in the child of a fork: the stream stays with the parent."""
        self._tenants.forget("the reader was opened before a fork; open another one in this process")
        self._session.close()


def _call(changed: weakref.ReferenceType[Callable[[], None]]) -> None:
    method = changed()
    if method is not None:
        method()


def _after_fork(reader: OpenReader) -> None:
    reader._after_fork()  # noqa: SLF001 - what the reader's own class makes of it


def _names(tenants: Iterable[str]) -> frozenset[str]:
    if isinstance(tenants, str):
        raise ValueError("tenants: use a list of names, not one string")  # noqa: TRY004 - one error for all that is wrong
    names = frozenset(check_tenant(tenant) for tenant in tenants)
    if not 1 <= len(names) <= MOST_TENANTS:
        raise ValueError(f"tenants: use 1 to {MOST_TENANTS} names, or None for all tenants")
    return names
