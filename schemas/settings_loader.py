"""Reading the settings from the environment, once, in the entry point; every wrong one is named."""

from collections.abc import Iterator
from typing import TypeVar

from pydantic import ValidationError

from schemas.domain.policy import field_errors
from schemas.environment import FromEnvironment, SettingsError
from schemas.setting_problems import problems_of
from schemas.settings import Ports, Settings

_Read = TypeVar("_Read", bound=FromEnvironment)


def findings_of(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Yield the field and the reason of each wrong setting, with the place in its JSON and an example."""
    for finding in field_errors(error):
        name, *inside = (part for part in finding.field.split(".") if part != "[key]")
        place = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in inside)
        reason = f"at {place.removeprefix('.')}: {finding.reason}" if place else finding.reason
        (example,) = Settings.model_fields[name].examples or ("",)
        yield name, f"{reason} (example: {example})"


def _read(kind: type[_Read]) -> _Read:
    try:
        return kind()
    except ValidationError as error:
        findings = "; ".join(f"SLEEP_{field.upper()}: {reason}" for field, reason in findings_of(error))
        raise SettingsError(findings) from None


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: naming each variable that is missing or wrong, and why.
    """
    settings = _read(Settings)
    findings = [f"{', '.join(variables)}: {reason}" for variables, reason in problems_of(settings)]
    if findings:
        raise SettingsError("; ".join(findings))
    return settings


def load_ports() -> Ports:
    """Read the two ports alone.

    Raises:
        SettingsError: naming each variable that is wrong, and why.
    """
    return _read(Ports)
