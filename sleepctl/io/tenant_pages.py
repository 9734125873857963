"""The pages of `GET /api/tenants`."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from sleepctl.io.api_client import Answer
from sleepctl.io.requests import problem
from sleepctl.ui.errors import CommandError

PATH: Final = "/api/tenants"
PAGE: Final = 1000


class Calls(Protocol):
    """Sends requests to the API; see `ApiClient.call`."""

    async def call(
        self,
        method: str,
        path: str,
        *,
        tenant: str | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and return its answer, whatever its status."""
        ...


async def tenant_pages(api: Calls, query: Mapping[str, Any], *, json: bool) -> AsyncIterator[dict[str, Any]]:
    """Yield the pages of the list of tenants.

    Args:
        api: sends the requests.
        query: parameters beside the cursor, such as `state`.
        json: whether a problem is raised as JSON.

    Raises:
        CommandError: with the problem, if the API answers with one.
    """
    cursor: str | None = None
    while True:
        parameters = {"limit": PAGE, **query} if cursor is None else {"limit": PAGE, **query, "cursor": cursor}
        answer = await api.call("GET", f"{PATH}?{urlencode(parameters)}")
        if answer.failed:
            raise problem(answer, json=json)
        yield answer.document
        following = answer.document["cursor"]
        if following is None:
            return
        if following == cursor:
            raise CommandError("the API sent the same cursor twice, so the list would never end")
        cursor = following
