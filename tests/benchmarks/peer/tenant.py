"""A tenant's sleep as a virtual object of Restate; it runs in the peer's own environment, and imports nothing of ours.

Restate runs one call of a key at a time. A sleep ends by a call to itself in the future, which does nothing where the
tenant has changed since.
"""

from datetime import timedelta

import restate
from restate import ObjectContext, ObjectSharedContext, VirtualObject

OF_BREAKER = {"closed": "active", "half_open": "light", "open": "freeze"}

tenant = VirtualObject("Tenant")


async def _enter(context: ObjectContext, state: str) -> dict:
    before = await context.get("sleep", type_hint=dict) or {"changes": 0}
    now = {"state": state, "changes": before["changes"] + 1}
    context.set("sleep", now)
    return now


@tenant.handler()
async def command(context: ObjectContext, order: dict) -> dict:
    """Enter a state, for a while where the order names a time."""
    now = await _enter(context, order["target_state"])
    if (seconds := order.get("ttl_seconds")) is not None:
        later = timedelta(seconds=seconds)
        context.object_send(wake, key=context.key(), arg=now["changes"], send_delay=later)
    return now


@tenant.handler()
async def breaker(context: ObjectContext, event: dict) -> None:
    """Enter the state that a breaker's event asks for."""
    await _enter(context, OF_BREAKER[event["state"]])


@tenant.handler()
async def wake(context: ObjectContext, changes: int) -> None:
    """Wake, unless the tenant has changed since."""
    now = await context.get("sleep", type_hint=dict)
    if now is not None and now["changes"] == changes:
        await _enter(context, "active")


@tenant.handler(kind="shared")
async def show(context: ObjectSharedContext) -> dict:
    """Return the state."""
    return await context.get("sleep", type_hint=dict) or {"state": "active", "changes": 0}


app = restate.app(services=[tenant])
