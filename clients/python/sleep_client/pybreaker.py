"""The binding for pybreaker: a listener that reports the changes of a breaker."""

import weakref
from collections.abc import Callable

import pybreaker

from sleep_client.emitter import Emitter


class SleepListener(pybreaker.CircuitBreakerListener):
    """Reports each change of a breaker's state.

        breaker = pybreaker.CircuitBreaker(name="payments", listeners=[SleepListener(emitter, tenant="acme")])

    The name of the breaker is its `name`; a report of a breaker without one is dropped as invalid. The cause is the
    type of the last failure. Its text is not sent, since it may have secrets.

    pybreaker half-opens a breaker at the next call after `reset_timeout`. Without calls it stays open, and is repeated.

    Args:
        emitter: what reports.
        tenant: the tenant, or a function of the breaker that returns it. One listener may serve many breakers.
        instance: in place of the emitter's; "" if processes share the breaker's state, as in Redis.
    """

    def __init__(
        self,
        emitter: Emitter,
        tenant: str | Callable[[pybreaker.CircuitBreaker], str],
        *,
        instance: str | None = None,
    ) -> None:
        self._emitter = emitter
        self._tenant = tenant
        self._instance = instance
        self._failures: weakref.WeakKeyDictionary[pybreaker.CircuitBreaker, str] = weakref.WeakKeyDictionary()

    def failure(self, cb: pybreaker.CircuitBreaker, exc: BaseException) -> None:
        """Remember the type of the last failure; called by pybreaker."""
        self._failures[cb] = type(exc).__name__

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,  # noqa: ARG002 - pybreaker passes it
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """Report the new state; called by pybreaker."""
        cause = None
        if new_state.name == pybreaker.STATE_OPEN and cb in self._failures:
            cause = f"last failure: {self._failures[cb]}"
        self._emitter.report(self._tenant_of(cb), cb.name or "", new_state.name, self._instance, cause)

    def _tenant_of(self, cb: pybreaker.CircuitBreaker) -> str:
        if isinstance(self._tenant, str):
            return self._tenant
        try:
            return self._tenant(cb)
        except Exception as error:  # noqa: BLE001 - nothing may reach the caller's path
            # No valid tenant, so the emitter counts the report as invalid and logs this text.
            return f"(the function of the tenant raised {type(error).__name__})"
