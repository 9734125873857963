"""What a person sees while `sleepctl run` plays: one line a happening, readable without a terminal too."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.text import Text

from sleepctl.client import Answer
from sleepctl.show import clock, parameters, print_json, program

_STYLES: Final = {"active": "green", "light": "yellow", "deep": "dark_orange", "freeze": "cyan"}
_BAR: Final = 20
_TENANT: Final = 8


class Serving(NamedTuple):
    """Where everything is once the scenario is over; one token is the tenant's, one an operator's."""

    url: str
    worker_url: str
    tenant: str
    token: str
    operator_token: str
    kafka: str
    redis: str
    partitions: int


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

    def verdict(self, unseen: Sequence[str]) -> None:
        """Say whether everything was seen."""
        if unseen:
            self._out.print(Text(f"\nNOT every expected state was seen: {'; '.join(unseen)}", "bold red"))
        else:
            self._out.print(Text("\nevery expected state was seen", "bold green"))

    def serving(self, found: Serving) -> None:
        """Say where everything is, with lines to copy."""
        self._out.print(
            Text(f"""
The API serves at {found.url} (description at {found.url}/docs) until Ctrl-C; the worker's page is
{found.worker_url}/status. As {found.tenant}:

curl -s -H 'Authorization: Bearer {found.token}' {found.url}/api/brain/sleep_mode

In another terminal, to trip a breaker and look:

export SLEEP_KAFKA_BOOTSTRAP={found.kafka} SLEEP_REDIS_URL={found.redis} SLEEP_PARTITIONS={found.partitions}
export SLEEP_URL={found.url} SLEEP_TOKEN={found.token}
{program()} send breaker open --tenant {found.tenant} --name payments --instance pod-1
{program()} state {found.tenant}

An operator sees every tenant:

{program()} tenants --token {found.operator_token}
""")
        )

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

    def verdict(self, unseen: Sequence[str]) -> None:
        """Print what was not seen."""
        print_json({"unseen": unseen})

    def serving(self, found: Serving) -> None:
        """Print where everything is."""
        print_json({"serving": found._asdict()})

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
