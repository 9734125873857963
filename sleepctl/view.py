"""What a person sees while `sleepctl run` plays: one line a happening, readable without a terminal too."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from sleepctl.client import Answer
from sleepctl.show import clock, parameters, print_json

_STYLES: Final = {"active": "green", "light": "yellow", "deep": "dark_orange", "freeze": "cyan"}
_BAR: Final = 20
_TENANT: Final = 8


def _state(name: str) -> tuple[str, str]:
    return name, _STYLES.get(name, "")


def _bar(present: Mapping[str, Any]) -> str:
    """Return how much of its deepest-to-widest range `K` has, as a bar; 100 is the built-in full value."""
    filled: int = min(_BAR, max(0, round(present["parameters"]["K"] * _BAR / 100)))
    return "█" * filled + "·" * (_BAR - filled)


class PlainView:
    """Lines for people; coloured where the console is a terminal."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self._out.print(Text(text))

    def step(self, title: str) -> None:
        """Say what is done next."""
        self._out.print(Text.assemble("\n", (f"▶ {title}", "bold")))

    def transition(self, row: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        """Show a transition as it happens: time, tenant, from and to, cause, and the parameters."""
        cause = row["cause"] or {}
        key = "" if cause.get("key") is None else f" {cause['key']}"
        line = Text.assemble(
            (clock(row["at"])[11:], "dim"),
            f"  {row['tenant']:<{_TENANT}} ",
            _state(row["from"]),
            " → ",
            _state(row["to"]),
            f"  {cause.get('kind', '')}{key}",
        )
        self._out.print(line)
        values = parameters(present["parameters"], present["target_parameters"])
        self._out.print(Text(f"{'':14}{row['tenant']:<{_TENANT}} {values}"))

    def moving(self, present: Mapping[str, Any]) -> None:
        """Show a tenant whose parameters are on their way."""
        line = Text.assemble(
            (clock(present["now"])[11:], "dim"),
            f"  {present['tenant_id']:<{_TENANT}} ",
            _state(present["state"]),
            f" {_bar(present)} {parameters(present['parameters'])}",
        )
        self._out.print(line)

    def answer(self, answer: Answer) -> None:
        """Show what a request was answered; a problem whole."""
        if answer.failed:
            self._out.print(Text(f"  HTTP {answer.status}  {answer.problem()}", "red"))
            return
        document = answer.document
        what = f"{document.get('type', 'policy')} {document.get('operation_id', '')}".strip()
        status = document.get("status", f"version {document.get('policy_version')}")
        self._out.print(Text(f"  HTTP {answer.status}  {what}: {status}", "dim"))

    def checked(self, expectation: str, *, seen: bool) -> None:
        """Say whether what was expected was seen."""
        self._out.print(
            Text(f"  ✓ {expectation}", "green") if seen else Text(f"  ✗ not seen: {expectation}", "bold red")
        )


class JsonView:
    """One JSON document a line."""

    def say(self, text: str) -> None:
        """Leave out what is said to people."""

    def step(self, title: str) -> None:
        """Print what is done next."""
        print_json({"step": title})

    def transition(self, row: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        """Print a transition and the tenant after it."""
        print_json({"transition": row, "present": present})

    def moving(self, present: Mapping[str, Any]) -> None:
        """Print the tenant."""
        print_json({"present": present})

    def answer(self, answer: Answer) -> None:
        """Print the status and the document."""
        print_json({"status": answer.status, "answer": answer.document})

    def checked(self, expectation: str, *, seen: bool) -> None:
        """Print whether it was seen."""
        print_json({"expectation": expectation, "seen": seen})
