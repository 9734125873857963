"""Whatever happens to requests, the server ends with the last state of each breaker: no order is lost."""

import math
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sleep_client import State
from sleep_client.emission.events import Event
from sleep_client.emission.report import SLEEPING
from tests.unit.sleep_client.conftest import EPOCH, PERIOD, Emission, answer

BREAKERS: Final = ("a", "b")
LEASE: Final = 3 * PERIOD


class Server:
    """The rules of the log for the order of events: specification.md#ordering."""

    def __init__(self) -> None:
        self.clock_behind = 0.0
        self.states: dict[str, State] = {}
        self.renewed: dict[str, float] = {}
        self._latest: dict[str, int | None] = {}

    def apply(self, events: list[Event], now: float) -> None:
        """Apply what is not stale and not a minute ahead."""
        for event in events:
            breaker = event.report.key.breaker
            latest, occurred_at = self._latest.get(breaker), event.occurred_at
            if occurred_at is not None:
                if latest is not None and occurred_at < latest:
                    continue
                if occurred_at > (EPOCH + now - self.clock_behind) * 1000 + 60_000:
                    continue
            self._latest[breaker] = occurred_at
            self.states[breaker] = event.report.state
            self.renewed[breaker] = now


class Emitting(RuleBasedStateMachine):
    """An emitter, a server, and a network that loses requests and answers, and delivers late."""

    @initialize()
    def begin(self) -> None:
        """Answer the first request."""
        self.emission = Emission()
        self.server = Server()
        self.emission.accept()
        self.reported: dict[str, State] = {}
        self.late: list[list[Event]] = []
        self.under_way: list[Event] | None = None

    @rule(breaker=st.sampled_from(BREAKERS), state=st.sampled_from(["open", "half_open", "closed", "disabled"]))
    def report(self, breaker: str, state: State) -> None:
        """Report, also while a request is under way."""
        self.emission.report(state, breaker)
        self.reported[breaker] = state

    @rule(seconds=st.sampled_from([0.001, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        """By little or much."""
        self.emission.now += seconds

    @rule(seconds=st.sampled_from([0.0, 5.0, 30.0]))
    def servers_differ(self, seconds: float) -> None:
        """Another process of the API answers, whose clock is behind."""
        self.server.clock_behind = seconds

    @precondition(lambda self: self.under_way is None)
    @rule()
    def send(self) -> None:
        """Send what is due, if something is."""
        step = self.emission.session.next(self.emission.now)
        self.under_way = getattr(step, "events", None)

    @precondition(lambda self: self.under_way is not None)
    @rule(outcome=st.sampled_from(["accepted", "answer lost", "late", "refused"]))
    def outcome(self, outcome: str) -> None:
        """Let a request end. One without an answer may have been applied, or be applied later, or both."""
        events, self.under_way = self.under_way or [], None
        if outcome == "accepted":
            self.server.apply(events, self.emission.now)
            self.emission.accept(events, clock_behind=self.server.clock_behind)
        elif outcome == "refused":
            self.emission.answered(answer(503), events)
        else:
            if outcome == "answer lost":
                self.server.apply(events, self.emission.now)
            self.late.append(events)
            self.emission.session.failed("ReadTimeout", self.emission.now)

    @precondition(lambda self: self.late)
    @rule()
    def arrive(self) -> None:
        """Apply what was on its way for a while."""
        self.server.apply(self.late.pop(0), self.emission.now)

    @invariant()
    def memory_is_bounded(self) -> None:
        """One state a breaker, whatever waits."""
        if hasattr(self, "emission"):
            assert self.emission.session._outbox.waiting <= len(BREAKERS)  # noqa: SLF001 - no caller needs to know

    def teardown(self) -> None:
        """Let the network heal: the server then knows the last state of each breaker, and has it renewed in time."""
        if not hasattr(self, "emission"):
            return
        if self.under_way is not None:
            self.outcome("accepted")
        self._settle()
        for events in self.late:
            self.server.apply(events, self.emission.now)
        assert self.server.states == self.reported
        self.emission.now += PERIOD
        self._settle()
        for breaker, state in self.reported.items():
            assert state not in SLEEPING or self.emission.now - self.server.renewed[breaker] < LEASE / 3

    def _settle(self) -> None:
        for _ in range(20):
            step = self.emission.session.next(self.emission.now)
            if (events := getattr(step, "events", None)) is not None:
                self.server.apply(events, self.emission.now)
                self.emission.accept(events, clock_behind=self.server.clock_behind)
            elif (seconds := getattr(step, "seconds", math.inf)) < waits_end:
                self.emission.now += seconds
            else:
                return


waits_end: Final = 20.0
"""Longer pauses are those until the next repeat."""

TestOrder = Emitting.TestCase
TestOrder.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
