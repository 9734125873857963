"""The streams of states as HTTP responses."""

from collections.abc import Sequence

from api.security.rate_limits import Payer
from api.states.audience import Client
from api.states.feed import StatesFeed
from api.states.session import SnapshotPlaces, StatesSession
from api.streaming.streams import EventStream, Streams


class StateStreams:
    """Makes the streams of states of one process.

    Args:
        feed: keeps the list of listed tenants.
        streams: counts the streams of every kind.
    """

    def __init__(self, feed: StatesFeed, streams: Streams) -> None:
        self._feed = feed
        self._streams = streams
        self._places = SnapshotPlaces()

    def open(
        self, tenants: Sequence[str] | None, last_id: str | None, expires_at: int, holder: Payer
    ) -> EventStream[Client]:
        """Return the response that serves a stream.

        Args:
            tenants: the tenants of the stream, None for all.
            last_id: the id after which the client continues, if any.
            expires_at: the end of the client's token, and so of the stream, in milliseconds.
            holder: the payer whose streams are counted.

        Raises:
            ProblemError: `too_many_streams`.
        """
        session = StatesSession(self._feed, self._places, tenants=tenants, last_id=last_id)
        return self._streams.serve(session, self._feed, expires_at, holder)
