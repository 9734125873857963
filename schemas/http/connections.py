"""How many connections one server holds: of one client, and in all.

A connection above a bound is still looked at, as one of a few: it may carry a probe, which an orchestrator ends the
process for. Anything else on it is refused once its head has come, and it closes. Where there are too many of these
few, the one that has waited longest for its head closes without a word.
"""

import resource
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

SPARE: Final = 128
"""How many connections above the bounds are looked at: what a burst of probes and of refused callers takes."""
OTHER_FILES: Final = 256
"""Open files that no connection may take: the process needs them for what it depends on."""
_LOGGED_OF: Final = 1_000
"""One of so many connections above a bound is logged, the first among them: each may have an address of its own."""

log = structlog.get_logger(__name__)


def affordable(most: int) -> int:
    """Return how many connections a process may hold: so many, or what its limit of open files leaves."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if files == resource.RLIM_INFINITY else max(min(most, files - OTHER_FILES - SPARE), 1)


class Connections:
    """The connections of one server.

    Args:
        most: how many there may be, beside `SPARE`.
        most_of_client: how many one client may have.
        spare: how many above these are looked at.
        refused: called with `client` or `process` for each connection above a bound, by the bound.

    Attributes:
        total: how many there are.
    """

    def __init__(
        self, most: int, most_of_client: int, spare: int = SPARE, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self.total = 0
        self._most = most
        self._most_of_client = most_of_client
        self._spare = spare
        self._refused = refused
        self._of: Counter[str] = Counter()
        self._spares: set[Place] = set()
        # Of these, those whose head has not come, the oldest first.
        self._silent: dict[Place, None] = {}
        self._above = 0

    def enter(self, client: str, close: Callable[[], None]) -> "Place":
        """Note a connection and return its place; it may be closed at once, or another one in its stead.

        Args:
            client: from `answers.client_of`; `""` is nobody, and has no bound of its own.
            close: ends the connection.
        """
        of_client = bool(client) and self._of[client] >= self._most_of_client
        within = not of_client and self.total - len(self._spares) < self._most
        place = Place(self, client, close, spare=not within)
        self.total += 1
        self._of[client] += 1
        if not within:
            self._say(client, "client" if of_client else "process")
            self._make_room()
            self._spares.add(place)
            if len(self._spares) > self._spare:
                close()
            else:
                self._silent[place] = None
        return place

    def _make_room(self) -> None:
        """Close the connection that has been silent for longest, where there is no room for one more."""
        if len(self._spares) >= self._spare and self._silent:
            oldest = next(iter(self._silent))
            self.spoke(oldest)
            self._spares.discard(oldest)
            oldest.close()

    def spoke(self, place: "Place") -> None:
        """Note that a connection's head has come."""
        self._silent.pop(place, None)

    def leave(self, place: "Place") -> None:
        """Forget a connection that has ended."""
        self.total -= 1
        self._of[place.client] -= 1
        if not self._of[place.client]:
            del self._of[place.client]
        self._spares.discard(place)
        self.spoke(place)

    def _say(self, client: str, bound: str) -> None:
        """Count a connection above a bound, and log some of them."""
        self._refused(bound)
        if self._above % _LOGGED_OF == 0:
            log.warning(
                "connections_refused", client=client, bound=bound, of_client=self._of[client], in_all=self.total
            )
        self._above += 1


class Place:
    """One connection among those of a server.

    Attributes:
        client: whose it is.
        spare: whether it is above a bound, so that it carries nothing but a probe.
    """

    def __init__(self, connections: Connections, client: str, close: Callable[[], None], *, spare: bool) -> None:
        self._connections = connections
        self.client = client
        self.close = close
        self.spare = spare

    def spoke(self) -> None:
        """Note that a head has come: the connection closes by itself soon, and not for another."""
        self._connections.spoke(self)

    def leave(self) -> None:
        """Note that the connection has ended."""
        self._connections.leave(self)
