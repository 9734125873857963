"""What commands print: JSON for machines, plain aligned lines for people."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_NAME: Final = "sleepctl"
_TIMES: Final = ("_at", "since", "now", "at")


def console(*, stderr: bool = False) -> Console:
    """Return a console on the present stdout or stderr; where it is no terminal, lines stay plain and whole."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def program() -> str:
    """Return what a person types to call this program again: a path where a shell would not find its name."""
    started = Path(os.path.abspath(sys.argv[0]))  # noqa: PTH100 - a link to it stays as it was typed
    if started.name != _NAME or not started.is_file():
        return _NAME
    if started.is_relative_to(Path.cwd()):
        return shlex.quote(str(started.relative_to(Path.cwd())))
    found = shutil.which(_NAME)
    return _NAME if found is not None and Path(found).samefile(started) else shlex.quote(str(started))


def print_json(document: Any) -> None:  # noqa: ANN401 - any JSON
    """Print a document as one line of JSON."""
    typer.echo(to_json(document).decode())


def clock(at: int) -> str:
    """Return a time in milliseconds as UTC, to the millisecond."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(value: float) -> str:
    """Return a parameter as short as it can be read."""
    return f"{value:.4g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"  # noqa: PLR2004 - where digits run out


def parameters(values: Mapping[str, float], targets: Mapping[str, float] | None = None) -> str:
    """Return the parameters in one line; those on their way somewhere show where."""
    shown = []
    for name, value in values.items():
        target = value if targets is None else targets[name]
        shown.append(f"{name} {number(value)}" + ("" if target == value else f"→{number(target)}"))
    return "  ".join(shown)


def lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a document as pairs of name and text, absent values left out."""
    return [(name, _text(name, value)) for name, value in document.items() if value not in (None, [], {})]


def _text(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(_TIMES):
        return clock(value)
    if isinstance(value, Mapping):
        if name.endswith("parameters"):
            return parameters(value)
        return ", ".join(f"{key} {_text(key, found)}" for key, found in value.items() if found is not None)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(_text(name, item) for item in value)
    return str(value)


def print_document(document: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a document, for machines or for people."""
    if as_json:
        print_json(document)
        return
    pairs = lines(document)
    width = max((len(name) for name, _ in pairs), default=0)
    out = console()
    for name, text in pairs:
        out.print(Text.assemble((f"{name:<{width}}  ", "dim"), text))
