"""The client of the API: what it sends again, and what it does not."""

from collections.abc import Callable

import httpx
import pytest

from sleepctl.io import api_client
from sleepctl.io.api_client import ApiClient, NoAnswerError

Serve = Callable[[int], list[str]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A server that closes the connection of the first requests without an answer."""

    def serving(closes: int) -> list[str]:
        seen: list[str] = []

        def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request.method)
            if len(seen) <= closes:
                raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
            return httpx.Response(200, json={})

        monkeypatch.setattr(api_client, "transport", lambda: httpx.MockTransport(handle))
        return seen

    return serving


async def test_a_reading_request_whose_connection_closes_is_sent_again(serve: Serve) -> None:
    """The server may close an idle connection at the moment of a request."""
    seen = serve(1)
    async with ApiClient("http://api", "token") as client:
        assert (await client.call("GET", "/version")).status == 200
    assert seen == ["GET", "GET"]


async def test_a_reading_request_is_sent_twice_at_most(serve: Serve) -> None:
    """Then the reason is told."""
    seen = serve(2)
    async with ApiClient("http://api", "token") as client:
        with pytest.raises(NoAnswerError, match="RemoteProtocolError"):
            await client.call("GET", "/version")
    assert seen == ["GET", "GET"]


async def test_a_command_whose_connection_closes_is_not_sent_again(serve: Serve) -> None:
    """It may have been applied."""
    seen = serve(1)
    async with ApiClient("http://api", "token") as client:
        with pytest.raises(NoAnswerError, match="RemoteProtocolError"):
            await client.call("POST", "/api/util/sleep", body={})
    assert seen == ["POST"]
