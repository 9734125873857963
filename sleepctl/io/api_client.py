"""A client of the HTTP API. A problem is an answer like any other."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Self

import certifi
import httpx
from pydantic_core import from_json, to_json

from schemas.environment import flaw
from schemas.errors import describe
from schemas.setting_types import is_url, located
from schemas.tls import CertificateError, context_for
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

_CONNECT_SECONDS: Final = 5.0
# Added to the 60 s for which the API waits for an outcome at most (`Prefer: wait`).
_ANSWER_SECONDS: Final = 15.0
_FIRST_FAILURE: Final = 400
LONGEST_WAIT_SECONDS: Final = 60


class Answer(NamedTuple):
    """An answer of the API."""

    status: int
    document: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def failed(self) -> bool:
        """Whether it is a problem."""
        return self.status >= _FIRST_FAILURE

    def problem(self) -> str:
        """Return a problem as text: title, detail, and a line for each wrong field that the detail does not name."""
        document = self.document
        title = document.get("title") or f"HTTP {self.status}"
        text = f"{title}: {document['detail']}" if document.get("detail") else str(title)
        if document.get("code"):
            text += f" ({self.status} {document['code']})"
        for error in document.get("errors") or ():
            if str(error.get("reason")) not in str(document.get("detail")):
                text += f"\n  {error.get('field')}: {error.get('reason')}"
        if document.get("operation_id"):
            text += f"\n  operation {document['operation_id']}"
        return text


def _object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, None if it has none."""
    try:
        document = from_json(content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def transport() -> httpx.AsyncBaseTransport | None:
    """Return the transport of every client, None for httpx's own. Tests replace this function."""
    return None


def _url_flaw(url: str) -> str | None:
    """Return why a URL cannot be used, None if it can."""
    if (reason := flaw(url)) is not None:
        return reason
    if not is_url(url):
        return "it must start with http:// or https://"
    try:
        parts = located(url)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        return "it has no valid host and port"
    if "@" in parts.netloc:
        return "it must have no user and password; the token says who calls"
    if parts.query or parts.fragment:
        return "it must have nothing after ? or #"
    return None


def _token_flaw(token: str) -> str | None:
    """Return why a token cannot be used, None if it can. The token is never shown."""
    if (reason := flaw(token, secret=True)) is not None:
        return reason
    if token.lower().startswith("bearer "):
        return "give the token alone, without `Bearer`"
    if not token.isascii() or " " in token:
        return "it has characters that no token has"
    return None


class NoAnswerError(CommandError):
    """The API does not answer, or its connection broke."""


class ApiClient:
    """A client of the API at a URL, for use in `async with`.

    It ignores the environment, except `SSL_CERT_FILE` and `SSL_CERT_DIR` for https.

    Args:
        url: the URL of the API, with or without a slash at the end.
        token: the bearer token; it is never shown.

    Raises:
        CommandError: if the URL, the token or the certificate authorities cannot be used; exit status 2.
    """

    def __init__(self, url: str, token: str) -> None:
        if (reason := _url_flaw(url)) is not None:
            raise CommandError(f"--url or SLEEP_URL: {reason} (example: http://127.0.0.1:8080)", WRONG_SETTINGS)
        if (reason := _token_flaw(token)) is not None:
            raise CommandError(f"--token or SLEEP_TOKEN: {reason}", WRONG_SETTINGS)
        self._url = httpx.URL(url if url.endswith("/") else f"{url}/")
        try:
            context = context_for(url, certifi.where())
        except CertificateError as error:
            raise CommandError(str(error), WRONG_SETTINGS) from None
        self._client = httpx.AsyncClient(
            base_url=self._url,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=httpx.Timeout(LONGEST_WAIT_SECONDS + _ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            transport=transport(),
            verify=context,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
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
            tenant: sent as `X-Tenant-Id`; None means the token's tenant.
            body: sent as JSON.
            headers: more headers, such as the type of a body that is not plain JSON.

        Raises:
            CommandError: if the API does not answer, or its answer is not JSON.
        """
        sent = dict(headers or {})
        if tenant is not None:
            sent["X-Tenant-Id"] = tenant
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        request = self._client.build_request(
            method, path.lstrip("/"), headers=sent, content=None if body is None else to_json(body)
        )
        try:
            response = await self._sent(request)
        except httpx.TransportError as error:
            raise self._no_answer(error) from None
        document = _object(response.content)
        if document is None:
            raise CommandError(f"{self.shown} answered {response.status_code} without a JSON object: is it the API?")
        return Answer(response.status_code, document, response.headers)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """Send a request. A reading one is sent again if the server closes the idle connection at that moment."""
        try:
            return await self._client.send(request)
        except httpx.RemoteProtocolError:
            if request.method != "GET":
                raise
            return await self._client.send(request)

    @asynccontextmanager
    async def stream(
        self, path: str, headers: Mapping[str, str], silent_seconds: float
    ) -> AsyncIterator[AsyncIterator[str] | Answer]:
        """Yield the lines of an event stream, or the answer that refuses it.

        Args:
            path: the path under the URL.
            headers: of the request.
            silent_seconds: how long the stream may be silent.

        Raises:
            NoAnswerError: if the API does not answer, or the connection breaks within the block.
            CommandError: if the answer is no event stream.
        """
        timeout = httpx.Timeout(silent_seconds, connect=_CONNECT_SECONDS)
        try:
            async with self._client.stream("GET", path.lstrip("/"), headers=headers, timeout=timeout) as response:
                if response.status_code >= _FIRST_FAILURE:
                    document = _object(await response.aread())
                    yield Answer(response.status_code, document or {}, response.headers)
                elif not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise CommandError(f"{self.shown} answered without an event stream: is it the API?")
                else:
                    yield response.aiter_lines()
        except httpx.TransportError as error:
            raise self._no_answer(error) from None

    def _no_answer(self, error: httpx.TransportError) -> NoAnswerError:
        # The text of a protocol error may quote the request, which has the token.
        reason = type(error).__name__ if isinstance(error, httpx.ProtocolError) else describe(error)
        if not isinstance(error, httpx.LocalProtocolError):
            reason += "; is SLEEP_URL right?"
        return NoAnswerError(f"the API at {self.shown} does not answer: {reason}")

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        return str(self._url.copy_with(userinfo=b"")).rstrip("/")
