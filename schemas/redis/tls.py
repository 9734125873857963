"""Whether the files for TLS that a Redis URL names can be used."""

import ssl
from urllib.parse import parse_qsl, urlsplit

from schemas.tls import CertificateError, client_context, load_identity, require_readable

_VARIABLE = "SLEEP_REDIS_URL"


def check_redis_tls(address: str) -> None:
    """Load each file that a rediss:// URL names, as the client will.

    Args:
        address: the URL as redis-py reads it. One without TLS names no file.

    Raises:
        CertificateError: if a file cannot be used, or the client would connect without its certificate.
    """
    parts = urlsplit(address)
    if parts.scheme != "rediss":
        return
    options = dict(parse_qsl(parts.query))
    for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if option in options:
            require_readable(_VARIABLE, options[option])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ssl_ca_certs" in options:
        client_context((_VARIABLE, options["ssl_ca_certs"]))
    elif options.get("ssl_cert_reqs") != "none":
        client_context()
    certfile, keyfile = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if certfile is not None and keyfile is not None:
        load_identity(context, (_VARIABLE,), certfile, keyfile)
    elif certfile is not None or keyfile is not None:
        # redis-py would connect without the certificate.
        given, missing = ("ssl_keyfile", "ssl_certfile") if certfile is None else ("ssl_certfile", "ssl_keyfile")
        raise CertificateError((_VARIABLE,), f"its option {given} needs {missing}; both may name the same file")
