"""The log of the client: the logger `sleep_client`."""

import logging
from collections.abc import Iterable
from typing import Final

from sleep_client.protocol.notice import Notice

_SHORTEST_SECRET: Final = 8
"""Shorter tokens are no secrets, and may be part of any word."""

log: Final = logging.getLogger("sleep_client")


def write(notices: Iterable[Notice], token: str) -> None:
    """Log lines, without the token: a server or a proxy may show the headers of a request in its answer."""
    for notice in notices:
        log.log(notice.level, "%s", without_token(notice.text, token))


def without_token(text: str, token: str) -> str:
    """Return a text in which a token that may be a secret is replaced."""
    return text.replace(token, "[token]") if len(token) >= _SHORTEST_SECRET else text
