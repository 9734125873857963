"""Checks of what a caller gives: the URL of the API, and the token. No error shows either."""

import os
import re
import ssl
from typing import Final
from urllib.parse import urlsplit

import certifi
import httpx

# RFC 6750: what may follow `Bearer`.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def read_url(url: str) -> httpx.URL:
    """Return the URL of the API, without a slash at its end.

    Raises:
        ValueError: if it cannot be used; the text says why, and has no password.
    """
    try:
        parts = urlsplit(url)
        parsed = httpx.URL(url)
        _ = parts.port
    except (TypeError, ValueError, httpx.InvalidURL):
        raise ValueError("url: it has no valid host and port; use one such as https://sleep.example") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("url: it must start with http:// or https://, and name a host")
    if "@" in parts.netloc:
        raise ValueError("url: it must have no user and password; the token says who calls")
    if parts.query or parts.fragment:
        raise ValueError("url: it must have nothing after ? or #")
    return parsed.copy_with(path=parsed.path.rstrip("/"))


def check_token(token: object) -> str:
    """Return a token that a header may carry.

    Raises:
        ValueError: if it cannot be used; the text says why, and not what it is.
    """
    if not isinstance(token, str):
        raise ValueError("token: it must be a string, or a function that returns one")  # noqa: TRY004 - one error for all that is wrong
    if token.lower().startswith("bearer "):
        raise ValueError("token: give the token alone, without `Bearer`")
    if _TOKEN.fullmatch(token) is None:
        raise ValueError("token: it is empty, or has characters that no token has")
    return token


def tls_context(url: httpx.URL) -> ssl.SSLContext | None:
    """Return how the certificate of the server is checked; None without TLS.

    The authorities are those of `SSL_CERT_FILE` or `SSL_CERT_DIR`, else those of certifi, which comes with httpx.

    Raises:
        ValueError: if one of the variables names nothing that can be read.
    """
    if url.scheme != "https":
        return None
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        return ssl.create_default_context(cafile=certifi.where())
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except OSError as error:
        name = "SSL_CERT_FILE" if file else "SSL_CERT_DIR"
        raise ValueError(f"{name}: it cannot be read: {error.strerror or type(error).__name__}") from None
