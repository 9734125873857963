"""Reports circuit breakers to Somabrain Sleep, without delay for the caller."""

import os
import random
import secrets
import socket
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal

from sleep_client.emission import report as reports
from sleep_client.emission.outbox import Outbox
from sleep_client.emission.report import DropReason
from sleep_client.emission.session import Session, Status
from sleep_client.protocol.waits import repeat_period
from sleep_client.runtime.address import check_token, read_url, tls_context
from sleep_client.runtime.clock import seconds as now
from sleep_client.runtime.courier import Courier
from sleep_client.runtime.forks import watch
from sleep_client.runtime.http import HttpPoster, Poster

MOST_REPEAT_SECONDS: Final = 2_592_000
"""The longest lease of a policy."""
_GRACE_SECONDS: Final = 0.5
"""How long `close` waits for the thread beyond the time that it gives the thread."""


class Emitter:
    """Reports breakers to the API of Somabrain Sleep, from a thread of its own.

    Create one for each process, and call `close` before the process ends. A context manager does that:

        with Emitter("https://sleep.example", token) as emitter:
            emitter.report("acme", "payments", "open", cause="5 of 10 calls timed out")

    While the server is away, the last state of each breaker and instance is kept, for at most 10,000 of them. It is
    sent when the server takes reports again. `occurred_at` of an event follows the server's clock, not the local one.

    After a fork, the child's emitter is empty and works: it starts a thread at its first report, and uses another
    instance name. What the parent has reported stays with the parent.

    Args:
        url: the address of the API, such as `https://sleep.example`.
        token: the bearer token, with the scope `sleep:emit`, or `sleep:emit-any` for several tenants. Or a function
            that returns the token. The thread calls it before each request, so it should remember the token.
        instance: the name of this process, which must differ between processes. By default host name and process id.
        repeat_seconds: how often a state that means sleep is sent again, 1 to 2,592,000. Use at most a third of the
            lease. The default fits the default lease of 900 s.

    Raises:
        ValueError: if an argument, or a variable that names certificates, cannot be used. No secret is in its text.
        RuntimeError: if the system starts no more threads.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        instance: str | None = None,
        repeat_seconds: float = 300.0,
    ) -> None:
        if not 1 <= repeat_seconds <= MOST_REPEAT_SECONDS:
            raise ValueError(f"repeat_seconds: use 1 to {MOST_REPEAT_SECONDS}, not {repeat_seconds!r:.40}")
        self._url = read_url(url)
        self._token = token if callable(token) else check_token(token)
        self._context = tls_context(self._url)
        self._repeat_seconds = float(repeat_seconds)
        self._named = None if instance is None else reports.read("-", "-", "closed", instance, None, 0.0).key.instance
        self._open()
        self._courier.start()
        watch(self, Emitter._after_fork)

    def _open(self) -> None:
        """Prepare a thread, without what an earlier one had."""
        self._instance = reports.name(f"{socket.gethostname()}:{os.getpid()}") if self._named is None else self._named
        # Jitter keeps emitters from calling in step; it protects nothing. After a fork it must not repeat the parent's.
        jitter = random.Random(secrets.randbits(64)).random  # noqa: S311 - as above
        outbox = Outbox(repeat_period(self._repeat_seconds, jitter()), secrets.token_hex(4))
        session = Session(outbox, str(self._url), jitter)
        token = self._token
        self._courier = Courier(
            session,
            self._poster(),
            (lambda: check_token(token())) if callable(token) else (lambda: token),
            f"urn:sleep-client:{self._instance}",
            now,
        )
        # A dropped emitter stops; its claims end with their leases.
        self._finalizer = weakref.finalize(self, self._courier.begin_close, 0.0, release=False)
        self._finalizer.atexit = False

    def _poster(self) -> Poster:
        return HttpPoster(self._url, self._context, now)

    def report(
        self, tenant: str, breaker: str, state: str, instance: str | None = None, cause: str | None = None
    ) -> None:
        """Report the state of a breaker, at once and without an error.

        Report each change. To report the same state again is harmless and unnecessary: the emitter repeats it. A report
        that cannot be sent is counted in `dropped`, and the first one of each reason is logged.

        Args:
            tenant: the tenant whose calls the breaker guards.
            breaker: the name of the breaker.
            state: `closed`, `open`, `half_open`, `forced_open`, `disabled` or `metrics_only`, in any case, with or
                without hyphens, underscores and spaces.
            instance: in place of the emitter's; "" for a breaker that all processes share.
            cause: why, for people. It is cut to 256 characters. Put no secrets into it.
        """
        try:
            named = self._instance if instance is None else instance
            self._courier.report(reports.read(tenant, breaker, state, named, cause, now()))
        except ValueError as error:
            self._courier.drop("invalid", str(error))
        except Exception as error:  # noqa: BLE001 - nothing may reach the caller's path
            self._courier.drop("failed", type(error).__name__)

    @property
    def status(self) -> Status:
        """Whether reports reach the server."""
        return self._courier.status

    @property
    def dropped(self) -> dict[DropReason, int]:
        """The number of reports that were not sent, by reason."""
        return self._courier.dropped

    def close(self, *, release: bool = True, timeout_seconds: float = 5.0) -> bool:
        """Send what waits, and stop the thread. Later reports are dropped, and later calls change nothing.

        Args:
            release: whether to report as closed what this emitter has reported as open, so that no claim stays behind.
                Without it, leases end the claims.
            timeout_seconds: how long that may take.

        Returns:
            Whether everything was sent in time, and the server refused none of it.
        """
        self._courier.begin_close(timeout_seconds, release=release)
        return self._courier.join(timeout_seconds + _GRACE_SECONDS) and self._courier.delivered

    def __enter__(self) -> "Emitter":  # noqa: PYI034 - `Self` came with Python 3.11
        """Return the emitter."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Close the emitter, and release what it holds."""
        self.close()
        return False

    def _after_fork(self) -> None:
        """Begin anew in the child of a fork: it has no thread, and its locks may be held for ever."""
        self._finalizer.detach()
        closed = self._courier.closing
        self._open()
        if closed:
            self._courier.begin_close(0.0, release=False)
