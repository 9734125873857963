"""Output of commands: JSON for machines, aligned lines for people."""

import errno
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
_SIZES: Final = {"COLUMNS": 80, "LINES": 25}
_SMALLEST: Final = 10
_TIMES: Final = ("_at", "since", "now", "at")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise the error: rich would end the process at once, even inside an event loop."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr. If that is not a terminal, lines are plain and not wrapped."""
    columns, lines_ = (_size(name) for name in ("COLUMNS", "LINES"))
    return _Console(
        stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False, width=columns, height=lines_
    )


def _size(variable: str) -> int | None:
    """Return the default size if a variable gives one that is too small; None leaves the size to rich.

    Rich prints nothing if `COLUMNS` is 0.
    """
    given = os.environ.get(variable, "")
    return _SIZES[variable] if given.isdecimal() and int(given) < _SMALLEST else None


def program() -> str:
    """Return how to call this program again: by a path if a shell would not find its name."""
    try:
        started = Path(os.path.abspath(sys.argv[0]))  # noqa: PTH100 - resolves no link
    except OSError:  # The working directory is gone.
        return _NAME
    if started.name != _NAME or not started.is_file():
        return _NAME
    if started.is_relative_to(Path.cwd()):
        return shlex.quote(str(started.relative_to(Path.cwd())))
    on_path = shutil.which(_NAME)
    return _NAME if on_path is not None and Path(on_path).samefile(started) else shlex.quote(str(started))


def print_json(document: Any) -> None:  # noqa: ANN401 - any JSON
    """Print a document as one line of JSON."""
    # Bytes: JSON is UTF-8 on a stdout of any encoding.
    typer.echo(to_json(document))


def clock(at: int) -> str:
    """Return a time in milliseconds as UTC, to the millisecond."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def kind_and_key(kind: str, key: str | None) -> str:
    """Return the name of a claim or a cause: its kind, and its key if the kind can have several."""
    return kind if key is None or key == kind else f"{kind} {key}"


def number(value: float) -> str:
    """Return a parameter with at most four digits."""
    return f"{value:.4g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"  # noqa: PLR2004 - smaller values need an exponent


def parameters(values: Mapping[str, float], targets: Mapping[str, float] | None = None) -> str:
    """Return the parameters in one line; a parameter that changes shows its target."""
    shown = []
    for name, value in values.items():
        target = value if targets is None else targets[name]
        shown.append(f"{name} {number(value)}" + ("" if target == value else f"→{number(target)}"))
    return "  ".join(shown)


def lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a document as pairs of name and text, without empty values."""
    return [(name, _text(name, value)) for name, value in document.items() if value not in (None, [], {})]


def _text(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(_TIMES):
        return clock(value)
    if isinstance(value, Mapping):
        if name.endswith("parameters"):
            return parameters(value)
        return ", ".join(f"{key} {_text(key, entry)}" for key, entry in value.items() if entry is not None)
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
