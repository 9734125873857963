"""Environments that broke clients and commands: what other programs leave in a shell, a container or a pod."""

from typing import Final

_PROXIES: Final = [
    (name, value)
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")
    for value in ("socks5://x:1", "socks4://x:1", "ftp://x", "garbage", "http://127.0.0.1:1", "http://[::1", " ")
]
HTTP: Final = [
    {name: value}
    for upper, value in [
        *_PROXIES,
        ("NO_PROXY", "[::1]"),
        ("NO_PROXY", "*,::1/128,http://[::1"),
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent"),
        ("SSLKEYLOGFILE", "/nonexistent/keys"),
        ("REQUESTS_CA_BUNDLE", "/nonexistent"),
        ("CURL_CA_BUNDLE", "/nonexistent"),
        ("OPENSSL_CONF", "/nonexistent"),
        ("NETRC", "/nonexistent"),
    ]
    for name in (upper, upper.lower())
]
"""Variables that HTTP clients and TLS libraries read, each with a value that is of no use."""

FAUST: Final = {
    "BROKER_URL": "redis://celery:6379/0",
    "BROKER_CREDENTIALS": "garbage",
    "BROKER_MAX_POLL_RECORDS": "1",
    "PROCESSING_GUARANTEE": "exactly_once",
    "STREAM_WAIT_EMPTY": "1",
    "TOPIC_ALLOW_DECLARE": "1",
    "WEB_PORT": "tcp://10.96.0.19:80",
    "TIMEZONE": "nonsense",
    "APP_DEBUG": "yes",
    "APP_ENV_PREFIX": "X_",
}
"""Variables that Faust would take its settings from: Celery's, and those of a Service called `web`."""
FAUST_AT_IMPORT: Final = {"F_WEB_PORT": "tcp://10.96.0.19:80", "FAUST_BLOCKING_TIMEOUT": "x", "F_LOOP": "nonsense"}
"""Variables that Faust reads as it is imported."""
