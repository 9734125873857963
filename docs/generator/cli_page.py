"""The page of `sleepctl`, made from the commands themselves and the examples of their help."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Final

import typer

from docs.generator.markdown import table
from sleepctl.main import COMMANDS, app
from sleepctl.ui.examples import EXAMPLES

_INTRO: Final = """\
# `sleepctl`

For operators and contributors. This page lists each command with its arguments, options and examples. `--help` behind a
command prints the same.

- Commands that read Kafka or Redis take their [settings](settings.md) from `SLEEP_…` variables.
- Commands that ask the API take `--url` and `--token`, or `SLEEP_URL` and `SLEEP_TOKEN`.
- The exit status is 0 if all went well, 1 if something was refused or differs, and 2 if the call itself is wrong.
- `sleepctl --install-completion` installs the completion of the present shell. `sleepctl --version` prints the version.
"""

_KINDS: Final = {
    "directory": "path of a folder",
    "file": "path of a file",
    "float": "number",
    "int": "integer",
    "integer": "integer",
    "path": "path of a file",
    "str": "text",
    "text": "text",
}
"""By the first word of a type's name in the command line: a range has a second one."""


def cli_page() -> str:
    """Return the page of all commands."""
    commands = dict(_commands())
    rows = [
        (f"[`sleepctl {name}`](#sleepctl-{name.replace(' ', '-')})", _summary(found))
        for name, found in commands.items()
    ]
    sections = [_section(name, found) for name, found in commands.items()]
    return "\n".join([_INTRO, table(("command", "what it does"), rows), *sections])


def _commands() -> Iterator[tuple[str, Any]]:
    """Yield each command with its name, those of groups by both names."""
    group: Any = typer.main.get_command(app)
    for name in COMMANDS:
        command = group.get_command(None, name)
        own = getattr(command, "commands", None)
        if own is None:
            yield name, command
        else:
            yield from ((f"{name} {each}", found) for each, found in own.items())


def _summary(command: Any) -> str:  # noqa: ANN401 - typer bundles click in some versions
    return cleandoc(command.help or "").partition("\n")[0]


def _section(name: str, command: Any) -> str:  # noqa: ANN401 - as above
    parts = [f"## sleepctl {name}\n\n{cleandoc(command.help or '')}"]
    shown = [each for each in command.params if each.name not in ("help", "install_completion", "show_completion")]
    arguments = [
        (f"`{_metavar(each)}`", _kind(each), _needed(each), _help(each)) for each in shown if _positional(each)
    ]
    options = [(_names(each), _kind(each), _default(each), _help(each)) for each in shown if not _positional(each)]
    if arguments:
        parts.append(table(("argument", "value", "required", "meaning"), arguments).rstrip())
    if options:
        parts.append(table(("option", "value", "default", "meaning"), options).rstrip())
    parts.append("```sh\n" + "\n".join(EXAMPLES[name]) + "\n```")
    return "\n\n".join(parts) + "\n"


def _positional(parameter: Any) -> bool:  # noqa: ANN401 - as above
    return bool(parameter.param_type_name == "argument")


def _metavar(parameter: Any) -> str:  # noqa: ANN401 - as above
    return str(parameter.name).rstrip("_").upper()


def _names(parameter: Any) -> str:  # noqa: ANN401 - as above
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _kind(parameter: Any) -> str:  # noqa: ANN401 - as above
    if getattr(parameter, "is_flag", False):
        return "none"
    choices = getattr(parameter.type, "choices", None)
    if choices:
        return ", ".join(f"`{getattr(each, 'value', each)}`" for each in choices)
    if parameter.metavar:
        return ", ".join(f"`{each}`" for each in parameter.metavar.split("|"))
    first = parameter.type.name.partition(" ")[0]
    return _KINDS[first] + _bounds(parameter.type)


def _bounds(kind: Any) -> str:  # noqa: ANN401 - as above
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    return ("" if low is None else f", from {low:,.10g}") + ("" if high is None else f", to {high:,.10g}")


def _needed(parameter: Any) -> str:  # noqa: ANN401 - as above
    return "yes" if parameter.required else "no"


def _default(parameter: Any) -> str:  # noqa: ANN401 - as above
    if parameter.required:
        return "required"
    default = parameter.default() if callable(parameter.default) else parameter.default
    plain = getattr(default, "value", default)
    shown = "" if plain in (None, "", False) else f"`{plain:g}`" if isinstance(plain, float) else f"`{plain}`"
    variable = f"`{parameter.envvar}`" if getattr(parameter, "envvar", None) else ""
    return ", else ".join(each for each in (variable, shown) if each)


def _help(parameter: Any) -> str:  # noqa: ANN401 - as above
    text = str(getattr(parameter, "help", "") or "")
    return text if not getattr(parameter, "multiple", False) or "repeated" in text else f"{text} May be repeated."
