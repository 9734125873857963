"""`python -m tests.benchmarks.open_door STEP ...`: the API without these steps of its door, for comparison alone."""

import asyncio
import signal
import sys
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

import uvloop

from api import serve as serving
from api.app import Wiring, wire
from api.door.auth import Principal
from api.door.authorise import Decision, Question
from api.door.limits import Payer, Verdict
from schemas.settings import Action, Settings, load_settings
from sleepctl.logs import configure_logging


class _AnyToken:
    """Takes the token's text for the tenant: no signature is looked at."""

    async def verify(self, token: str) -> Principal:
        return Principal("ops", token, ("sleep:write",), 2**53)


class _AnyQuestion:
    """Allows everything."""

    async def decide(self, _: Question) -> Decision:
        return Decision(allow=True, reasons=(), decision_id="none")


class _NoLimit:
    """Lets everything pass and counts nothing."""

    async def spend(self, _payer: Payer, _action: Action, _cost: int) -> Verdict:
        return Verdict((), None)


_OPEN: Final[dict[str, tuple[str, Any]]] = {
    "jwt": ("verifier", _AnyToken()),
    "opa": ("authoriser", _AnyQuestion()),
    "limit": ("limiter", _NoLimit()),
}
STEPS: Final = tuple(_OPEN)


async def serve_without(steps: list[str]) -> None:
    """Serve until SIGTERM, with every step of the door but these."""

    def opened(settings: Settings, *, embedded: bool) -> Wiring:
        wiring = wire(settings, embedded=embedded)
        return replace(wiring, services=replace(wiring.services, **dict(_OPEN[step] for step in steps)))

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    with patch.object(serving, "wire", opened):
        await serving.serve(settings, stop=stop)


if __name__ == "__main__":
    uvloop.run(serve_without(sys.argv[1:]))
