"""`sleepctl settings`: every variable with its default, its meaning and what it is set to."""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticUndefined, to_json, to_jsonable_python
from rich.text import Text

from schemas.settings import CertificateError, Settings, refusals
from sleepctl.errors import CommandError
from sleepctl.send import HERE
from sleepctl.show import Json, console, print_json
from sleepctl.wording import in_words

MASK: Final = "********"
# A password may stand in any URL; the user and the host may be shown.
_PASSWORD: Final = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]*@")


_CLIENT: Final = {
    "SLEEP_URL": ("Where the API serves, for `send`, `state` and `tenants`.", HERE, False),
    "SLEEP_TOKEN": ("Bearer token, for `send`, `state` and `tenants`.", None, True),
}
# Read by this project's own tests.
_TESTS: Final = "SLEEP_TEST_"


class Setting(NamedTuple):
    """A variable as it stands: `value` is what the environment says, masked where secret, None where unset."""

    name: str
    meaning: str
    default: Any
    required: bool
    secret: bool
    value: str | None
    problem: str | None


def describe_settings(environment: Mapping[str, str]) -> list[Setting]:
    """Return every setting and what is wrong with it: those of the code, the client's, and unknown ones."""
    given = {name.upper(): value for name, value in environment.items()}
    problems = _problems()
    found = []
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
        found.append(Setting(name, info.description or "", default, info.is_required(), secret, value, problem))
    return [*found, *_not_ours(given)]


def _not_ours(given: Mapping[str, str]) -> Iterator[Setting]:
    """Yield the client's variables, and those that nothing reads: most likely misspelled ones."""
    for name, (meaning, default, secret) in _CLIENT.items():
        value = given.get(name)
        if value is not None:
            value = MASK if secret else _without_password(value)
        yield Setting(name, meaning, default, required=False, secret=secret, value=value, problem=None)
    known = [f"SLEEP_{field.upper()}" for field in Settings.model_fields] + list(_CLIENT)
    for name in sorted(given):
        if name.startswith("SLEEP_") and name not in known and not name.startswith(_TESTS):
            near = get_close_matches(name, known, 1)
            problem = "unknown" + (f"; is {near[0]} meant?" if near else "")
            # It may be a secret whose name is misspelled.
            yield Setting(name, "Read by nothing.", None, required=False, secret=True, value=MASK, problem=problem)


def _without_password(value: str) -> str:
    return _PASSWORD.sub(rf"\1:{MASK}@", value)


def _problems() -> dict[str, str]:
    try:
        found = Settings()
    except ValidationError as error:
        return {field: in_words(reason) for field, reason in refusals(error)}
    if found.kafka_security_protocol.startswith("SASL"):
        needed = ("kafka_sasl_username", "kafka_sasl_password")
        missing = {name: "missing, SASL needs it" for name in needed if getattr(found, name) is None}
        if missing:
            return missing
    try:
        found.kafka_ssl_context()
    except CertificateError as error:
        return {error.variables[0].removeprefix("SLEEP_").lower(): error.reason}
    return {}


def settings(json: Json = False) -> None:
    """List every SLEEP_ variable, its value and its meaning.

    Secrets are masked. Exits with 1 where a required one is missing, one is wrong, or one is unknown.
    """
    found = describe_settings(os.environ)
    if json:
        print_json([setting._asdict() for setting in found])
    else:
        _print(found)
    wrong = [f"{setting.name}: {setting.problem}" for setting in found if setting.problem is not None]
    if wrong:
        raise CommandError(f"settings: {'; '.join(wrong)}")


def _print(found: list[Setting]) -> None:
    out = console()
    for setting in found:
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
