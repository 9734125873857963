"""`sleepctl settings`: lists every variable with its default, meaning and value."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticUndefined, to_json, to_jsonable_python
from rich.text import Text

from schemas.environment import PREFIX, is_service_link, unknown
from schemas.setting_problems import problems_of
from schemas.settings import Settings
from schemas.settings_loader import findings_of
from sleepctl.io.requests import HERE
from sleepctl.ui.errors import CommandError, say_notices
from sleepctl.ui.output import Json, console, print_json

MASK: Final = "********"
# Any URL may hold a password. The user and the host may be shown.
_PASSWORD: Final = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]*@")


_CLIENT: Final = {
    "SLEEP_URL": ("Where the API serves, for `send`, `state` and `tenants`.", HERE, False),
    "SLEEP_TOKEN": ("Bearer token, for `send`, `state` and `tenants`.", None, True),
}


class Setting(NamedTuple):
    """A variable; `value` is that of the environment, masked if it is secret, None if it is not set."""

    name: str
    meaning: str
    default: Any
    required: bool
    secret: bool
    value: str | None
    problem: str | None


def describe_settings(environment: Mapping[str, str]) -> list[Setting]:
    """Return every setting with its problem, then the client's variables, then unknown variables."""
    given = {name.upper(): value for name, value in environment.items() if value and not is_service_link(name, value)}
    problems = _problems()
    described = []
    for field, info in Settings.model_fields.items():
        name = f"SLEEP_{field.upper()}"
        secret = "SecretStr" in str(info.annotation) or info.annotation is SecretStr
        value = given.get(name)
        if value is not None:
            value = MASK if secret else _without_password(value)
        default = None if info.default is PydanticUndefined else to_jsonable_python(info.default)
        problem = problems.get(field)
        if problem is not None and value is None and info.is_required():
            problem = "missing"
        described.append(Setting(name, info.description or "", default, info.is_required(), secret, value, problem))
    return [*described, *_other_variables(given)]


def _other_variables(given: Mapping[str, str]) -> Iterator[Setting]:
    """Yield the client's variables, and variables that nothing reads: most likely misspelled ones."""
    for name, (meaning, default, secret) in _CLIENT.items():
        value = given.get(name)
        if value is not None:
            value = MASK if secret else _without_password(value)
        yield Setting(name, meaning, default, required=False, secret=secret, value=value, problem=None)
    for name, near in unknown(given, [f"SLEEP_{field.upper()}" for field in Settings.model_fields]):
        problem = "unknown" + (f"; is {near} meant?" if near else "")
        # The value may be a secret whose name is misspelled.
        yield Setting(name, "Nothing reads it.", None, required=False, secret=True, value=MASK, problem=problem)


def _without_password(value: str) -> str:
    return _PASSWORD.sub(rf"\1:{MASK}@", value)


def _problems() -> dict[str, str]:
    try:
        settings = Settings()
    except ValidationError as error:
        return dict(findings_of(error))
    # SSL_CERT_FILE is no SLEEP_ variable: its problem is shown at the setting that needs the file.
    problems: dict[str, str] = {}
    for variables, reason in problems_of(settings):
        name = variables[0]
        is_setting = name.startswith(PREFIX)
        field = name.removeprefix(PREFIX).lower() if is_setting else "kafka_security_protocol"
        problems.setdefault(field, reason if is_setting else f"{name}: {reason}")
    return problems


def settings(json: Json = False) -> None:
    """List every SLEEP_ variable, its value and its meaning.

    Secrets are masked. It exits with 1 if a setting is missing, wrong or unknown.
    """
    say_notices(unknown_ones=False)
    described = describe_settings(os.environ)
    if json:
        print_json([setting._asdict() for setting in described])
    else:
        _print(described)
    wrong = [f"{setting.name}: {setting.problem}" for setting in described if setting.problem is not None]
    if wrong:
        raise CommandError(f"settings: {'; '.join(wrong)}")


def _print(described: list[Setting]) -> None:
    out = console()
    for setting in described:
        shown = "required" if setting.required else f"default {_spelled(setting.default)}"
        line = Text.assemble((setting.name, "bold"), f" ({shown})")
        if setting.value is not None:
            line.append(f" = {setting.value}", "green")
        if setting.problem is not None:
            line.append(f"  ! {setting.problem}", "red")
        out.print(line)
        out.print(Text(f"    {setting.meaning}", "dim"))


def _spelled(default: object) -> str:
    if isinstance(default, dict):
        return to_json(default).decode()
    return "none" if default is None else str(default)
