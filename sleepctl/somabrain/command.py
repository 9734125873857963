"""Sends a tenant the mode that its row becomes. The row's end stays the same, however late the command is sent."""

from typing import Any, Final, NamedTuple

from schemas.clock import Clock, now_ms
from sleepctl.io.tenant_pages import Calls
from sleepctl.mass.commands import OneCommand
from sleepctl.mass.run_file import Head, Result
from sleepctl.mass.targets import Target

MODE: Final = "/api/brain/sleep_mode"
ENDED: Final = "ended_before"
"""The code of a row whose end came before its command could be sent."""
_CONFLICT: Final = "idempotency_conflict"


class ImportRow(NamedTuple):
    """A mode for the rest of a row's time. A target is given its state, and when it wakes (ms) or None.

    Attributes:
        clock: the time in milliseconds since the epoch.
    """

    clock: Clock = now_ms

    async def send(self, api: Calls, run: Head, target: Target, *, old: bool) -> Result | None:
        """Send the mode; see `MassCommand`."""
        state, wake_at = target.given
        body: dict[str, Any] = {"target_state": state, "reason": f"run {run.run}: from tenant_sleep_states"}
        if wake_at is not None:
            left = wake_at - self.clock()
            if left <= 0:
                return Result(done=True, code=ENDED)
            body["ttl_seconds"] = left / 1000
        command = OneCommand("POST", MODE, body)
        result = await command.send(api, run, target, old=old)
        if result is not None and result.code == _CONFLICT:
            # The log has this run's command for the tenant already, with the TTL that was left then.
            return await command.send(api, run, target, old=True)
        return result
