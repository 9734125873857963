"""The settings of the gate: environment variables, checked together at the start."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar, cast, get_args

from sleep_client.obeying import Form, Otherwise
from sleep_client.open_reader import MOST_TENANTS
from sleep_client.protocol.names import check_tenant
from sleep_client.reading.tenant_state import STATES
from sleep_client.runtime.address import check_token, read_url

Proxy = Literal["nginx", "envoy", "traefik", "caddy"]
WhenStale = Literal["hold", "wake", "deny"]
_Value = TypeVar("_Value")
# NGINX passes on 401 and 403 only; Envoy takes a 5xx for a failure of the gate.
FORMS: Final[dict[Proxy, Form]] = {
    "nginx": Form(state=403, unknown=403, no_tenant=401),
    "envoy": Form(state=429, unknown=429, no_tenant=400),
    "traefik": Form(),
    "caddy": Form(),
}
"""With which status each proxy can pass a denial on."""
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_LINK_NAME: Final = re.compile(r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?$")
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://")
_MOST_CONNECTIONS: Final = 65_536


class Setting(NamedTuple):
    """A variable: its default as it would be set, "" for none; an example; what may be set."""

    default: str
    example: str
    meaning: str


SETTINGS: Final[dict[str, Setting]] = {
    "SLEEP_URL": Setting("", "https://sleep.example", "The address of the API. Required."),
    "SLEEP_TOKEN": Setting("", "eyJhbGciOi…", "The bearer token. Required, unless SLEEP_TOKEN_FILE is set."),
    "SLEEP_TOKEN_FILE": Setting(
        "",
        "/run/secrets/sleep/token",
        "A file with the token. It is read for each connection, and before a token ends.",
    ),
    "SLEEP_GATE_PROXY": Setting(
        "", "nginx", "`nginx`, `envoy`, `traefik` or `caddy`: the form of denials. Required, if anything is denied."
    ),
    "SLEEP_GATE_DENY": Setting("", "freeze", "The states in which requests are denied, with commas; none by default."),
    "SLEEP_GATE_TENANT_HEADER": Setting("X-Tenant-Id", "X-Tenant-Id", "The header that names the tenant."),
    "SLEEP_GATE_NO_TENANT": Setting(
        "deny", "allow", "`deny` or `allow`: a request whose tenant is missing, doubled or invalid."
    ),
    "SLEEP_GATE_NOT_READY": Setting(
        "deny", "allow", "`deny` or `allow`: a request while the state of its tenant is not known."
    ),
    "SLEEP_GATE_MAX_STALE_SECONDS": Setting(
        "60",
        "600",
        "How long the stream may be lost until `SLEEP_GATE_WHEN_STALE` counts. The forecasts are followed.",
    ),
    "SLEEP_GATE_WHEN_STALE": Setting(
        "hold",
        "deny",
        "After that: `hold` follows the forecasts further, `wake` takes every tenant for awake, and with `deny` "
        "no state counts as known.",
    ),
    "SLEEP_GATE_PARAMETERS": Setting("false", "true", "Whether answers have the six parameters as headers."),
    "SLEEP_GATE_TENANTS": Setting(
        "",
        "acme,globex",
        f"Follow only these tenants, at most {MOST_TENANTS}. The token has to be allowed to read each.",
    ),
    "SLEEP_GATE_HOST": Setting("127.0.0.1", "127.0.0.1", "The address to listen on."),
    "SLEEP_GATE_PORT": Setting("8090", "8090", "The port to listen on; 0 takes a free one."),
    "SLEEP_GATE_CONNECTIONS": Setting(
        "1024", "1024", "Most connections, and most requests at a time. Above, requests get 503."
    ),
}


class SettingsError(ValueError):
    """A variable is wrong. The text names it and what it may be, and has no secret."""


class GateSettings(NamedTuple):
    """The settings, as `SETTINGS` explains them.

    Attributes:
        token: the token, or a function that returns it.
        form: the statuses of denials.
        tenant_header: in lower case, as ASGI has it.
    """

    url: str
    token: str | Callable[[], str]
    form: Form
    deny: frozenset[str]
    tenant_header: bytes
    no_tenant: Otherwise
    not_ready: Otherwise
    max_stale_seconds: float
    when_stale: WhenStale
    parameters: bool
    tenants: tuple[str, ...] | None
    host: str
    port: int
    connections: int


def read_settings(environ: Mapping[str, str]) -> GateSettings:
    """Return the settings of an environment. An empty variable counts as unset.

    Raises:
        SettingsError: for the first variable that is wrong.
    """
    environ = {name: value for name, value in environ.items() if not _is_service_link(name, value)}
    if unknown := sorted(name for name in environ if name.startswith("SLEEP_GATE_") and name not in SETTINGS):
        # A mistyped name would leave the gate open.
        raise SettingsError(f"{unknown[0]}: there is no such setting; use one of {', '.join(SETTINGS)}")
    values = {name: environ.get(name, "") or setting.default for name, setting in SETTINGS.items()}
    deny = _of("SLEEP_GATE_DENY", values, _states)
    no_tenant = _choice("SLEEP_GATE_NO_TENANT", values, get_args(Otherwise))
    not_ready = _choice("SLEEP_GATE_NOT_READY", values, get_args(Otherwise))
    denies = bool(deny) or "deny" in (no_tenant, not_ready)
    if not values["SLEEP_GATE_PROXY"] and not denies:
        form = Form()
    else:
        form = FORMS[cast("Proxy", _choice("SLEEP_GATE_PROXY", values, get_args(Proxy)))]
    return GateSettings(
        url=_of("SLEEP_URL", values, lambda text: str(read_url(text))),
        token=_token(values),
        form=form,
        deny=deny,
        tenant_header=_of("SLEEP_GATE_TENANT_HEADER", values, _header),
        no_tenant=cast("Otherwise", no_tenant),
        not_ready=cast("Otherwise", not_ready),
        max_stale_seconds=_of("SLEEP_GATE_MAX_STALE_SECONDS", values, _seconds),
        when_stale=cast("WhenStale", _choice("SLEEP_GATE_WHEN_STALE", values, get_args(WhenStale))),
        parameters=_choice("SLEEP_GATE_PARAMETERS", values, ("true", "false")) == "true",
        tenants=_of("SLEEP_GATE_TENANTS", values, _tenants),
        host=values["SLEEP_GATE_HOST"],
        port=_of("SLEEP_GATE_PORT", values, lambda text: _number(text, 0, 65_535)),
        connections=_of("SLEEP_GATE_CONNECTIONS", values, lambda text: _number(text, 2, _MOST_CONNECTIONS)),
    )


def _is_service_link(name: str, value: str) -> bool:
    """Tell whether Kubernetes wrote a variable, for a Service such as `sleep-gate`."""
    return _LINK_NAME.search(name) is not None or _LINK_VALUE.match(value) is not None


def _of(name: str, values: Mapping[str, str], read: Callable[[str], _Value]) -> _Value:
    try:
        return read(values[name])
    except ValueError as error:
        # What the client checks begins with the name of its argument.
        text = str(error).removeprefix("url: ").removeprefix("token: ")
        raise SettingsError(f"{name}: {text}") from None


def _choice(name: str, values: Mapping[str, str], choices: tuple[str, ...]) -> str:
    if values[name] not in choices:
        raise SettingsError(f"{name}: use {', '.join(choices[:-1])} or {choices[-1]}")
    return values[name]


def _token(values: Mapping[str, str]) -> str | Callable[[], str]:
    path = values["SLEEP_TOKEN_FILE"]
    if bool(path) == bool(values["SLEEP_TOKEN"]):
        raise SettingsError("SLEEP_TOKEN: set either it or SLEEP_TOKEN_FILE")
    if not path:
        return _of("SLEEP_TOKEN", values, check_token)
    file = Path(path)

    def read(_: str = path) -> str:
        try:
            return check_token(file.read_text(encoding="ascii").strip())
        except (OSError, UnicodeError) as error:
            raise ValueError(f"the file cannot be read: {type(error).__name__}") from None

    _of("SLEEP_TOKEN_FILE", values, read)
    return read


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _states(text: str) -> frozenset[str]:
    states = frozenset(_names(text))
    if not states <= STATES:
        raise ValueError(f"use names of {', '.join(sorted(STATES))}, with commas")
    return states


def _tenants(text: str) -> tuple[str, ...] | None:
    names = tuple(sorted({check_tenant(name) for name in _names(text)}))
    if len(names) > MOST_TENANTS:
        raise ValueError(f"use at most {MOST_TENANTS} names, or none for all tenants")
    return names or None


def _header(text: str) -> bytes:
    if _HEADER.fullmatch(text) is None:
        raise ValueError("use the name of a header, such as X-Tenant-Id")
    return text.lower().encode()


def _seconds(text: str) -> float:
    seconds = float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else math.nan
    if math.isnan(seconds):
        raise ValueError("use a number of seconds, such as 60")
    return seconds


def _number(text: str, least: int, most: int) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else -1
    if not least <= number <= most:
        raise ValueError(f"use a whole number from {least} to {most}")
    return number
