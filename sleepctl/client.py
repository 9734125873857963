"""The HTTP door, as a client: one call, one answer; a problem is an answer too."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

import httpx
from pydantic_core import from_json, to_json

from schemas.errors import describe
from sleepctl.errors import CommandError
from sleepctl.wording import in_words

_CONNECT_SECONDS: Final = 5.0
# The API waits for an outcome up to 60 s where `Prefer: wait` asks for it; this is what comes on top.
_ANSWER_SECONDS: Final = 15.0
_FIRST_FAILURE: Final = 400
LONGEST_WAIT_SECONDS: Final = 60


class Answer(NamedTuple):
    """An answer of the API: its status, its JSON document and its headers."""

    status: int
    document: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def failed(self) -> bool:
        """Whether it is a problem."""
        return self.status >= _FIRST_FAILURE

    def problem(self) -> str:
        """Return a problem for people: title, detail, and each wrong field that it does not tell, a line each."""
        found = self.document
        title = found.get("title") or f"HTTP {self.status}"
        text = f"{title}: {found['detail']}" if found.get("detail") else str(title)
        if found.get("code"):
            text += f" ({self.status} {found['code']})"
        for error in found.get("errors") or ():
            if str(error.get("reason")) not in str(found.get("detail")):
                text += f"\n  {error.get('field')}: {error.get('reason')}"
        if found.get("operation_id"):
            text += f"\n  operation {found['operation_id']}"
        return in_words(text)


def transport() -> httpx.AsyncBaseTransport | None:
    """Return the transport of every client, None for httpx's own; the place where tests put theirs."""
    return None


class Door:
    """The API at a URL, entered with a token. For use in `async with`.

    Args:
        url: where the API serves, with or without a slash at the end.
        token: the bearer token; it is sent and never shown.
        proxies: whether the environment's proxy settings count; not for a server in this process.
    """

    def __init__(self, url: str, token: str, *, proxies: bool = True) -> None:
        try:
            self._url = httpx.URL(url if url.endswith("/") else f"{url}/")
        except httpx.InvalidURL:
            raise CommandError("the URL of the API cannot be read") from None
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise CommandError("the URL of the API must be http://… or https://…")
        if not token.isascii() or not token.isprintable() or not token:
            raise CommandError("the token is empty or holds characters that no token has")
        self._client = httpx.AsyncClient(
            base_url=self._url,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=httpx.Timeout(LONGEST_WAIT_SECONDS + _ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            transport=transport(),
            trust_env=proxies,
        )

    async def __aenter__(self) -> Self:
        """Open the door."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        tenant: str | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and return its answer, whatever its status.

        Args:
            method: the HTTP method.
            path: the path under the URL.
            tenant: sent as `X-Tenant-Id`; None speaks of the token's own tenant.
            body: sent as JSON.
            headers: more headers, such as the body's type where it is not plain JSON.

        Raises:
            CommandError: if the API does not answer, or not in JSON.
        """
        sent = dict(headers or {})
        if tenant is not None:
            sent["X-Tenant-Id"] = tenant
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            response = await self._client.request(
                method, path.lstrip("/"), headers=sent, content=None if body is None else to_json(body)
            )
        except httpx.TransportError as error:
            # The text of an error in the protocol may quote what was sent.
            told = type(error).__name__ if isinstance(error, httpx.ProtocolError) else describe(error)
            if not isinstance(error, httpx.LocalProtocolError):
                told += "; is SLEEP_URL right?"
            raise CommandError(f"the API at {self.shown} does not answer: {told}") from None
        try:
            document = from_json(response.content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CommandError(f"{self.shown} answered {response.status_code} and no JSON object: is the API there?")
        return Answer(response.status_code, document, response.headers)

    @property
    def shown(self) -> str:
        """The URL without any password in it."""
        return str(self._url.copy_with(userinfo=b"")).rstrip("/")
