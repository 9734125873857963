"""The thread of an emitter: it does what the session decides."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import RLock, Thread
from typing import Final

from sleep_client.emission.events import encode
from sleep_client.emission.report import DropReason, Report
from sleep_client.emission.session import Pause, Post, Session, Status
from sleep_client.runtime.http import NoAnswerError, Poster
from sleep_client.runtime.log import write

REQUEST_SECONDS: Final = 10.0
"""How long a request may take. The server answers within 4 s if Kafka is away."""
_LONGEST_PAUSE: Final = 30.0
"""A wait does not count the time for which the machine is suspended, and the clock does."""
_AFTER_ERROR_SECONDS: Final = 1.0
"""How long the thread waits after a defect, so that it does not use a whole core."""


class Courier:
    """Sends the reports of a session, in a thread of its own.

    Callers and the thread share the session under a lock. It is held for some operations on dictionaries, never while
    something is sent, logged or waited for. It is reentrant, so that a signal handler may report, too.

    Args:
        session: decides what is sent.
        poster: sends it.
        token: returns the bearer token, and may raise.
        source: of the events.
        clock: the time, in seconds.
    """

    def __init__(
        self, session: Session, poster: Poster, token: Callable[[], str], source: str, clock: Callable[[], float]
    ) -> None:
        self._session = session
        self._poster = poster
        self._token = token
        self._source = source
        self._clock = clock
        self._lock = RLock()
        # Its `put` is reentrant and never waits, unlike that of an event or a condition.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._rung = False
        self._thread: Thread | None = None
        self._sent_token = ""

    @property
    def status(self) -> Status:
        """The status of the session."""
        return self._session.status

    @property
    def closing(self) -> bool:
        """Whether `begin_close` was called."""
        return self._session.closing

    @property
    def delivered(self) -> bool:
        """Whether the session ended with nothing left to send."""
        return self._session.delivered

    @property
    def dropped(self) -> dict[DropReason, int]:
        """The number of reports that were dropped, by reason."""
        with self._lock:
            return self._session.dropped

    def start(self) -> None:
        """Start the thread, if there is none.

        Raises:
            RuntimeError: if the system starts no more threads.
        """
        with self._lock:
            if self._thread is None and not self._session.closing:
                thread = Thread(target=self._run, name="sleep-emitter", daemon=True)
                thread.start()
                self._thread = thread

    def report(self, report: Report) -> None:
        """Hand a report to the thread."""
        with self._lock:
            if self._session.report(report):
                self._ring()
        if self._thread is None:
            self.start()

    def drop(self, reason: DropReason, detail: str) -> None:
        """Count a report that is not sent."""
        with self._lock:
            self._session.drop(reason, detail)
            self._ring()

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def begin_close(self, seconds: float, *, release: bool) -> None:
        """Let the thread send what waits, and then end; see `Session.close`."""
        with self._lock:
            self._session.close(self._clock(), seconds, release=release)
            if self._thread is None:
                self._session.end()
            self._ring()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread, and return whether it has ended."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        try:
            while (pause := self._guarded_step()) is not None:
                with suppress(Empty):
                    self._bell.get(timeout=min(pause, _LONGEST_PAUSE))
        finally:
            self._poster.close()

    def _guarded_step(self) -> float | None:
        try:
            return self.step()
        except Exception as error:  # noqa: BLE001 - a thread that ends would keep all later reports
            with self._lock:
                self._session.failed(f"an error of this library: {type(error).__name__}: {error}", self._clock())
            self._log()
            return _AFTER_ERROR_SECONDS

    def step(self) -> float | None:
        """Do one thing: send a batch, or find that nothing is to be sent now.

        Returns:
            How many seconds to wait before the next step, unless something is reported before; None at the end.
        """
        with self._lock:
            self._rung = False
            action = self._session.next(self._clock())
        pause: float | None
        match action:
            case Post(events=events):
                body, count = encode(events, self._source)
                self._send(body, count)
                pause = 0.0
            case Pause(seconds=pause):
                pass
            case _:
                pause = None
        self._log()
        return pause

    def _send(self, body: bytes, count: int) -> None:
        sent = self._clock()
        try:
            token = self._token()
        except Exception as error:  # noqa: BLE001 - a function of the caller may raise anything, and its text may be secret
            self._failed(f"there is no usable token ({type(error).__name__})")
            return
        self._sent_token = token
        try:
            answer = self._poster.post(body, token, self._session.remaining(sent, REQUEST_SECONDS))
        except NoAnswerError as error:
            self._failed(str(error))
            return
        with self._lock:
            self._session.answered(answer, count, sent, self._clock())

    def _failed(self, finding: str) -> None:
        with self._lock:
            self._session.failed(finding, self._clock())

    def _log(self) -> None:
        with self._lock:
            notices = self._session.notices()
        write(notices, self._sent_token)
