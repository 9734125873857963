"""The HTTP client for an issuer's keys."""

import certifi
import httpx

from schemas.tls import context_for


def http_client(location: str, *, proxy: str | None = None) -> httpx.AsyncClient:
    """Return a client for one server. Nothing connects before the first request.

    Of the environment only `SSL_CERT_FILE` and `SSL_CERT_DIR` are used, and only for https: no proxy and no `.netrc`.

    Args:
        location: the server's URL; anything but an https URL needs no authorities.
        proxy: the URL of an HTTP proxy.

    Raises:
        CertificateError: if the authorities that the environment names cannot be used.
    """
    proxy_config = None
    if proxy is not None:
        # httpx accepts a context only for a proxy with TLS.
        proxy_context = context_for(proxy, certifi.where()) if proxy.startswith("https://") else None
        proxy_config = httpx.Proxy(proxy, ssl_context=proxy_context)
    context = context_for(location, certifi.where())
    return httpx.AsyncClient(verify=context, proxy=proxy_config, trust_env=False)
