"""The types of settings: valid values of each kind. Errors never show the value."""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import from_json

from schemas.formats.settings import TopicFormat

# The notation of the `limits` library, without zero and without windows that are too large for a list in Redis.
_LIMIT: Final = r"[1-9][0-9]{0,6} *(/|per) *([1-9][0-9]{0,3} *)?(second|minute|hour|day|month|year)s?"
_LIMITS: Final = re.compile(rf" *{_LIMIT} *([;,|] *{_LIMIT} *)*", re.IGNORECASE)
_LARGEST_PORT: Final = 65_535
# Underscores are invalid in host names, but common in those of Docker Compose.
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_LONGEST_HOST: Final = 253
_BROKER: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?", re.DOTALL)
# Kafka's own rule for the name of a topic.
_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_URL_LIKE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|https?:", re.IGNORECASE)
_WHOLE: Final = re.compile(r"-?[0-9]+")
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")

REDIS_OPTIONS: Final[dict[str, Callable[[str], bool]]] = {
    "db": lambda value: re.fullmatch("[0-9]+", value) is not None,
    "client_name": lambda value: re.fullmatch("[!-~]+", value) is not None,
    "health_check_interval": lambda value: re.fullmatch("[0-9]+", value) is not None,
    "socket_keepalive": lambda value: value.lower() in ("true", "false", "1", "0", "yes", "no"),
    "ssl_ca_certs": bool,
    "ssl_certfile": bool,
    "ssl_keyfile": bool,
    "ssl_cert_reqs": lambda value: value in ("none", "optional", "required"),
    "ssl_check_hostname": lambda value: value.lower() in ("true", "false", "1", "0", "yes", "no"),
}
"""The options that a Redis URL may have after `?`, and their values. Timeouts and retries are fixed in code."""


def _topic(name: str) -> str:
    if _TOPIC.fullmatch(name) is None:
        msg = "it must be the name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -"
        raise ValueError(msg)
    return name


class Ingress(TopicFormat):
    """A topic of reports from untrusted emitters, its format, and where its tenant is found."""

    topic: Annotated[str, AfterValidator(_topic), Field(min_length=1)]


def _is_a_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # Digits and dots alone are an invalid IP address: no name server resolves them.
        numeric = re.fullmatch(r"[0-9.]+", host) is not None
        return len(host) <= _LONGEST_HOST and _HOST.fullmatch(host) is not None and not numeric
    return True


def _brokers(given: str) -> str:
    """Return a list of brokers without spaces after its commas."""
    members = [member.strip() for member in given.split(",")]
    for place, member in enumerate(members, 1):
        match = _BROKER.fullmatch(member)
        host, port = (match[1], match[2]) if match is not None else ("", None)
        if not _is_a_host(host.removeprefix("[").removesuffix("]")):
            msg = f"broker {place} of {len(members)} has no valid host name"
            raise ValueError(msg)
        if port is None or re.fullmatch("[0-9]{1,5}", port) is None or not 1 <= int(port) <= _LARGEST_PORT:
            msg = f"broker {place} of {len(members)} has no port from 1 to {_LARGEST_PORT}"
            raise ValueError(msg)
    return ",".join(members)


def _bind_host(given: str) -> str:
    if not _is_a_host(given):
        msg = "it must be an IP address or a host name, without a scheme, a port or brackets"
        raise ValueError(msg)
    return given


def located(url: str) -> SplitResult:
    """Return a URL's parts.

    Raises:
        ValueError: if it has no host or an invalid port. The parser's own message is not shown: it may quote a part of
            a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    host = parts.hostname or ""
    if not _is_a_host(host) or port == 0 or any(character.isspace() for character in url):
        msg = "it names no valid host and port; percent-encode / # ? and @ in the password"
        raise ValueError(msg)
    return parts


def _redis_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if not text.startswith(("redis://", "rediss://", "redis+cluster://")):
        msg = "it must start with redis://, rediss:// or redis+cluster://"
        raise ValueError(msg)
    parts = located(text)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in REDIS_OPTIONS:
            # The name of an option may be a part of a password that contains `?`.
            msg = f"it has an unknown option after `?`; known are {', '.join(REDIS_OPTIONS)}"
            raise ValueError(msg)
        if not REDIS_OPTIONS[name](value):
            msg = f"the value of its option {name} is not valid"
            raise ValueError(msg)
        if name.startswith("ssl_") and parts.scheme != "rediss":
            msg = f"its option {name} needs rediss://"
            raise ValueError(msg)
    if re.fullmatch(r"/?|/[0-9]{1,9}", parts.path) is None or parts.fragment:
        msg = "after the host and port comes the number of a database and nothing else"
        raise ValueError(msg)
    if parts.scheme == "redis+cluster" and int(options.get("db", parts.path.strip("/") or "0")) != 0:
        msg = "a Redis Cluster has database 0 only"
        raise ValueError(msg)
    return url


def is_url(location: str) -> bool:
    """Tell whether a location is an http(s) URL and not a file."""
    return location.startswith(("http://", "https://"))


def _key_location(location: str) -> str:
    """Refuse an invalid http(s) URL and a URL of another scheme. A file passes."""
    if is_url(location):
        located(location)
    elif _URL_LIKE.match(location):
        msg = "it must be a file, or a URL with http:// or https://"
        raise ValueError(msg)
    return location


def _server_url(location: str) -> str:
    if is_url(location):
        parts = located(location)
        if parts.query or parts.fragment:
            msg = "it must have nothing after ? or #; only the address of the server and perhaps a path"
            raise ValueError(msg)
    return location


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _issuer_url(location: str) -> str:
    parts = located(location) if is_url(location) else None
    safe = parts is not None and (parts.scheme == "https" or is_loopback(parts.hostname or ""))
    if parts is None or not safe or parts.username is not None or parts.query or parts.fragment:
        msg = "it must be an https URL without a user, ? or #; on a loopback address http is accepted"
        raise ValueError(msg)
    return location


def _proxy_url(location: str) -> str:
    if not is_url(location):
        msg = "it must be the URL of an HTTP proxy, with http:// or https://"
        raise ValueError(msg)
    return _server_url(location)


def _plain_number(form: re.Pattern[str], wanted: str) -> BeforeValidator:
    """Accept a number in plain decimal digits only: not 1e3, 0x10, 1_000 or digits of another script."""

    def read(given: object) -> object:
        if isinstance(given, str) and form.fullmatch(given) is None:
            msg = f"it must be {wanted}, in digits 0 to 9"
            raise ValueError(msg)
        return given

    return BeforeValidator(read)


def json_of(kind: type, wanted: str) -> BeforeValidator:
    """Return a validator that parses JSON, and whose error names the expected form."""

    def read(given: object) -> object:
        if not isinstance(given, str):
            return given
        try:
            # Bytes that are not UTF-8 arrive as lone surrogates, which cannot be encoded.
            parsed: Any = from_json(given.encode())
        except ValueError:
            parsed = None
        if not isinstance(parsed, kind):
            msg = f"must be {wanted}"
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports no TypeError
        return parsed

    return BeforeValidator(read)


def _limit(text: str) -> str:
    if _LIMITS.fullmatch(text) is None:
        msg = "it must be like 600/minute or 10/second; 600/minute"
        raise ValueError(msg)
    return text


Whole = Annotated[int, _plain_number(_WHOLE, "a whole number")]
Decimal = Annotated[float, _plain_number(_DECIMAL, "a number")]
Port = Annotated[Whole, Field(ge=0, le=_LARGEST_PORT)]
Brokers = Annotated[str, AfterValidator(_brokers)]
BindHost = Annotated[str, AfterValidator(_bind_host)]
ClientId = Annotated[str, Field(min_length=1, max_length=256)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
KeyLocation = Annotated[str, AfterValidator(_key_location)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]
IssuerUrl = Annotated[str, AfterValidator(_issuer_url)]
ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
Limit = Annotated[str, AfterValidator(_limit)]
