"""`sleepctl settings`: every variable with its default, its meaning and what it is set to."""

import os
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticUndefined, to_jsonable_python
from rich.text import Text

from schemas.policy import field_errors
from schemas.settings import Settings
from sleepctl.show import Json, console, print_json

MASK: Final = "********"
# A password may stand in any URL; the user and the host may be shown.
_PASSWORD: Final = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]*@")


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
    """Return every setting in the order of the code, and what is wrong with it in this environment."""
    given = {name.upper(): value for name, value in environment.items()}
    problems = _problems()
    found = []
    for field, info in Settings.model_fields.items():
        name = f"SLEEP_{field.upper()}"
        secret = "SecretStr" in str(info.annotation) or info.annotation is SecretStr
        value = given.get(name)
        if value is not None:
            value = MASK if secret else _PASSWORD.sub(rf"\1:{MASK}@", value)
        default = None if info.default is PydanticUndefined else to_jsonable_python(info.default)
        found.append(
            Setting(name, info.description or "", default, info.is_required(), secret, value, problems.get(field))
        )
    return found


def _problems() -> dict[str, str]:
    try:
        Settings()
    except ValidationError as error:
        return {found.field.split(".")[0]: found.reason for found in field_errors(error)}
    return {}


def settings(json: Json = False) -> None:
    """List every SLEEP_ variable: default, meaning, present value; secrets are masked."""
    found = describe_settings(os.environ)
    if json:
        print_json([setting._asdict() for setting in found])
        return
    out = console()
    for setting in found:
        shown = "required" if setting.required else f"default {_spelled(setting.default)}"
        line = Text.assemble((setting.name, "bold"), f" ({shown})")
        if setting.value is not None:
            line.append(f" = {setting.value}", "green")
        if setting.problem is not None:
            line.append(f"  ! {'missing' if setting.value is None else setting.problem}", "red")
        out.print(line)
        out.print(Text(f"    {setting.meaning}", "dim"))


def _spelled(default: object) -> str:
    return "none" if default is None else str(default)
