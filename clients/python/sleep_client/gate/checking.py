"""The answer to a proxy: whether a request may pass, and how its tenant sleeps."""

from collections.abc import Collection, Iterable
from typing import Final, Literal

from sleep_client.gate.answer import Answer
from sleep_client.gate.settings import GateSettings
from sleep_client.obeying import Denial, Guard, Reason
from sleep_client.open_reader import OpenReader
from sleep_client.reading.errors import NotReady, NotWatched
from sleep_client.reading.parameters import NAMES
from sleep_client.reading.session import ReaderStatus
from sleep_client.reading.tenant_state import TenantState

STATE: Final = b"x-sleep-state"
ENDS_AT: Final = b"x-sleep-ends-at"
STALE: Final = b"x-sleep-stale"
PARAMETERS: Final = {name: f"x-sleep-{name.lower()}".encode() for name in NAMES}
HEADERS: Final = (STATE, ENDS_AT, STALE, *PARAMETERS.values())
"""All headers that an answer may have. A proxy removes them from what its caller sends."""
RawHeaders = Iterable[tuple[bytes, bytes]]
Outcome = Literal["allowed", "allowed_without_state", "denied_state", "denied_unknown", "denied_no_tenant"]
_DENIED: Final[dict[Reason, Outcome]] = {
    "state": "denied_state",
    "unknown": "denied_unknown",
    "no_tenant": "denied_no_tenant",
}


class States:
    """The states as the gate takes them: with `deny`, nothing counts as known once the reader's status is `ERROR`.

    Args:
        reader: knows the states.
        denies_stale: whether that is so.
        watched: one of the reader's tenants; None if it follows all.
    """

    def __init__(self, reader: OpenReader, *, denies_stale: bool, watched: str | None) -> None:
        self._reader = reader
        self._denies_stale = denies_stale
        self._probed = watched or "any"

    def state(self, tenant: str) -> TenantState:
        """Return how a tenant sleeps now; raises as the reader does."""
        state = self._reader.state(tenant)
        if self._denies_stale and state.stale and self._reader.status is ReaderStatus.ERROR:
            raise NotReady("the reader has had no stream for too long, or was refused; see the log")
        return state

    def seconds_in(self, tenant: str, states: Collection[str]) -> float | None:
        """Return after how many seconds a tenant is in none of these states; None if that is not known."""
        return self._reader.seconds_in(tenant, states)

    @property
    def status(self) -> ReaderStatus:
        """The status of the reader."""
        return self._reader.status

    def known(self) -> str | None:
        """Return None if states are known, else why not."""
        try:
            self.state(self._probed)
        except (NotReady, NotWatched) as error:
            return str(error)
        return None


class Checks:
    """Decides about the requests of a proxy."""

    def __init__(self, states: States, settings: GateSettings) -> None:
        self._guard = Guard(states, settings.deny, settings.not_ready, settings.no_tenant, settings.form)
        self._header = settings.tenant_header
        self._parameters = settings.parameters

    def check(self, headers: RawHeaders) -> tuple[Answer, Outcome]:
        """Return the answer to a request with these headers."""
        checked = self._guard.check(self._tenant(headers))
        if checked is None:
            return Answer(200, []), "allowed_without_state"
        if isinstance(checked, Denial):
            denied = [(name.lower().encode(), value.encode()) for name, value in checked.headers]
            return Answer(checked.status, denied, checked.body), _DENIED[checked.reason]
        return Answer(200, self._headers(checked)), "allowed"

    def _tenant(self, headers: RawHeaders) -> str | None:
        values = [value for name, value in headers if name == self._header]
        # Two headers could be taken for the first one here, and for the second one behind the proxy.
        return values[0].decode("latin-1") if len(values) == 1 else None

    def _headers(self, state: TenantState) -> list[tuple[bytes, bytes]]:
        headers = [(STATE, state.state.encode())]
        if state.ends_at is not None:
            headers.append((ENDS_AT, str(state.ends_at).encode()))
        if state.stale:
            headers.append((STALE, b"true"))
        if self._parameters:
            headers += [
                (PARAMETERS[name], repr(value).encode())
                for name, value in state.parameters.items()
                if name in PARAMETERS
            ]
        return headers
