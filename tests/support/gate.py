"""A reader that knows what a test says, and settings of a gate."""

from collections.abc import Collection
from typing import Any, Final

import httpx

from sleep_client import ReaderStatus, TenantState
from sleep_client.gate.app import GateApp
from sleep_client.gate.checking import Checks, States
from sleep_client.gate.metrics import Metrics
from sleep_client.gate.settings import GateSettings, read_settings
from sleep_client.protocol.names import check_tenant

REQUIRED: Final = {"SLEEP_URL": "https://sleep.example", "SLEEP_TOKEN": "secret-token", "SLEEP_GATE_PROXY": "nginx"}
PARAMETERS: Final = {"K": 100, "t": 0.5, "tau": 1, "eta": 0.25, "lambda": 2.0, "B": 64}
AWAKE: Final = TenantState("active", PARAMETERS)


def settings(**given: str) -> GateSettings:
    """Return settings; `DENY="freeze"` sets `SLEEP_GATE_DENY`."""
    return read_settings(REQUIRED | {f"SLEEP_GATE_{name}": value for name, value in given.items()})


class Reader:
    """Knows what a test says."""

    def __init__(self) -> None:
        self.states: dict[str, TenantState | Exception] = {}
        self.left: float | None = None
        self.status = ReaderStatus.READY

    def state(self, tenant: str) -> TenantState:
        """Return what a test said, else that a tenant is awake."""
        known = self.states.get(check_tenant(tenant), AWAKE)
        if isinstance(known, Exception):
            raise known
        return known

    def seconds_in(self, _tenant: str, _states: Collection[str]) -> float | None:
        """Return what a test said."""
        return self.left


class Gate:
    """A gate without a socket."""

    def __init__(self, **given: str) -> None:
        self.reader = Reader()
        chosen = settings(**given)
        watched = None if chosen.tenants is None else chosen.tenants[0]
        reader: Any = self.reader
        states = States(reader, denies_stale=chosen.when_stale == "deny", watched=watched)
        self.app = GateApp(Checks(states, chosen), states, Metrics())

    async def call(
        self,
        path: str,
        tenant: str | None = None,
        method: str = "GET",
        **more: Any,  # noqa: ANN401 - httpx's own
    ) -> httpx.Response:
        """Send a request, with the default header for its tenant."""
        headers = [] if tenant is None else [("X-Tenant-Id", tenant)]
        headers += more.pop("headers", [])
        transport: Any = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
            return await client.request(method, path, headers=headers, **more)

    async def counted(self) -> dict[str, float]:
        """Return what is not zero on the page of metrics."""
        page = (await self.call("/metrics")).text
        rows = [line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in rows if float(value) and "_created" not in name}
