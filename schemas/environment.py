"""Environment variables: valid values, and variables that are not settings.

An empty variable counts as unset: Docker Compose writes one for `${X:-}`. Kubernetes and Docker write *service links*,
such as `SLEEP_API_PORT=tcp://10.96.0.17:8080` for a Service called `sleep-api`. Service links are not settings.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from pydantic import ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from schemas.errors import SchemasError

PREFIX: Final = "SLEEP_"
CLIENT: Final = ("SLEEP_URL", "SLEEP_TOKEN")
"""Variables of the command line's HTTP client, which are not settings of a process."""
# Read by this project's own tests.
_TESTS: Final = "SLEEP_TEST_"
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/ and Docker's legacy `--link`.
_LINK_NAME: Final = re.compile(
    r"\w+_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_ENV_\w+"
)
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://\S+:[0-9]+")
_QUOTES: Final = "\"'`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
# References that a shell, Compose, Kubernetes or a template did not expand.
_UNEXPANDED: Final = re.compile(r"\$\{.*\}|\$\(.*\)|\{\{.*\}\}|\$[A-Z_]+")
# Missing values as written by jq and JavaScript, Python, Go and Helm.
_ABSENT: Final = ("null", "undefined", "none", "<nil>", "<no value>")
# Control and format characters, unpaired surrogates (bytes that are not UTF-8), line and paragraph separators.
_INVISIBLE: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


class SettingsError(SchemasError):
    """Settings are missing or wrong. The message names each variable and never shows a value."""


def is_service_link(name: str, value: str) -> bool:
    """Tell whether Kubernetes or Docker wrote this variable for a service of that name."""
    name = name.upper()
    return (
        _LINK_NAME.fullmatch(name) is not None
        or (name.endswith("_PORT") and _LINK_VALUE.fullmatch(value) is not None)
        or (name.endswith("_NAME") and value.startswith("/"))
    )


def flaw(value: str, *, secret: bool = False) -> str | None:
    """Return why a value is certainly a mistake, None if it may be right. The reason never shows the value.

    Args:
        value: the value of the variable.
        secret: whether it is a password or a token, which may contain quotation marks and dollar signs.
    """
    if not value.strip():
        return "it holds white space only; leave it out, or leave it empty"
    if value != value.strip():
        place = "starts" if value[0].isspace() else "ends"
        character = "a line break" if (value[0] if place == "starts" else value[-1]) in "\r\n" else "white space"
        return f"it {place} with {character}; remove that (write files of secrets with `printf %s`, not `echo`)"
    if any(unicodedata.category(character) in _INVISIBLE for character in value):
        return "it holds a control character, an invisible character or a byte that is not UTF-8"
    first, last = value[0] in _QUOTES, value[-1] in _QUOTES
    if (first and last and len(value) > 1) or (not secret and (first or last)):
        return "it is in quotation marks; remove them (an env file keeps them as part of the value)"
    if not secret and (_UNEXPANDED.search(value) or value.lower() in _ABSENT):
        return "it holds a placeholder that nothing has replaced, or a word for no value; give one, or leave it empty"
    return None


def ignored_links(environment: Mapping[str, str]) -> str | None:
    """Return a warning that names all service links, None without any."""
    links = sorted(name for name, value in _given(environment) if is_service_link(name, value))
    if not links:
        return None
    return f"service links are ignored (`enableServiceLinks: false` keeps them out): {', '.join(links)}"


def unknown(environment: Mapping[str, str], settings: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each unknown `SLEEP_` variable, which is probably misspelled, and the closest known name."""
    known_names = [*settings, *CLIENT]
    for name, value in sorted(_given(environment)):
        if name not in known_names and not name.startswith(_TESTS) and not is_service_link(name, value):
            near = get_close_matches(name, known_names, 1)
            yield name, near[0] if near else None


def _given(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the `SLEEP_` variables that are not empty, with names in capitals."""
    for name, value in environment.items():
        if value and name.upper().startswith(PREFIX):
            yield name.upper(), value


class _Environment(EnvSettingsSource):
    """The variables of the process, without empty ones and without service links."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.env_vars = {
            name: value for name, value in self.env_vars.items() if value and not is_service_link(name, value)
        }


class FromEnvironment(BaseSettings):
    """Settings from `SLEEP_` variables alone, which refuse values that are certainly mistakes."""

    model_config = SettingsConfigDict(env_prefix="SLEEP_", frozen=True, extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes all of them by name
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read code first, then the environment."""
        return init_settings, _Environment(settings_cls)

    @field_validator("*", mode="before")
    @classmethod
    def _can_be_meant(cls, given: object, field: ValidationInfo) -> object:
        info = cls.model_fields[str(field.field_name)]
        # White space around JSON is ignored.
        if isinstance(given, str) and NoDecode not in info.metadata:
            reason = flaw(given, secret="SecretStr" in str(info.annotation))
            if reason is not None:
                raise ValueError(reason)
        return given
