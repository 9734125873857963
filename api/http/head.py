"""HEAD: the answer to GET without its body (RFC 9110, section 9.3.2)."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_ONLY: Final = "sleep.head_only"
"""Key of the scope: whether the request is a HEAD. An endless answer then ends after its head."""


class HeadAsGet:
    """Serves HEAD wherever the application serves GET.

    The application sees a GET. So token, policy, rate limits and the headers of the answer are the same, also
    `Content-Length`. The body is dropped here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b""})

        # A copy: the server frames the answer by the method in its own scope.
        inner = {**scope, "method": "GET", HEAD_ONLY: True}
        try:
            await self._app(inner, receive, send_head)
        finally:
            if "route" in inner:  # The log line and the metrics use it.
                scope["route"] = inner["route"]
