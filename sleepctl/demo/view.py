"""The output of `sleepctl run`: one line an event, also without a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.text import Text

from sleepctl.io.api_client import Answer
from sleepctl.ui.output import clock, kind_and_key, parameters, print_json, program

_STYLES: Final = {"active": "green", "light": "yellow", "deep": "dark_orange", "freeze": "cyan"}
_BAR: Final = 20
_TENANT: Final = 8


class Serving(NamedTuple):
    """The addresses after the scenario, a token of the tenant, and a token of an operator.

    Attributes:
        console: the console's address with a code that signs an operator in, once.
    """

    url: str
    worker_url: str
    tenant: str
    token: str
    operator_token: str
    console: str
    kafka: str
    redis: str
    partitions: int


def _state(name: str) -> tuple[str, str]:
    return name, _STYLES.get(name, "")


def _bar(present: Mapping[str, Any]) -> str:
    """Return `K` as a bar; the full bar is 100, the built-in value of an active tenant."""
    filled: int = min(_BAR, max(0, round(present["parameters"]["K"] * _BAR / 100)))
    return "█" * filled + "·" * (_BAR - filled)


class PlainView:
    """Lines for people, in colour on a terminal."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def verdict(self, unseen: Sequence[str]) -> None:
        """Show whether everything was seen."""
        if unseen:
            self._out.print(Text(f"\nNOT every expected state was seen: {'; '.join(unseen)}", "bold red"))
        else:
            self._out.print(Text("\nevery expected state was seen", "bold green"))

    def serving(self, serving: Serving) -> None:
        """Show the addresses, and commands to copy."""
        self._out.print(
            Text(f"""
The API serves at {serving.url} (description at {serving.url}/docs) until Ctrl-C; the worker's page is
{serving.worker_url}/status. As {serving.tenant}:

curl -s -H 'Authorization: Bearer {serving.token}' {serving.url}/api/brain/sleep_mode

In another terminal, to trip a breaker and look:

export SLEEP_KAFKA_BOOTSTRAP={serving.kafka} SLEEP_REDIS_URL={serving.redis} SLEEP_PARTITIONS={serving.partitions}
export SLEEP_URL={serving.url} SLEEP_TOKEN={serving.token}
{program()} send breaker open --tenant {serving.tenant} --name payments --instance pod-1
{program()} state {serving.tenant}

An operator sees every tenant:

{program()} tenants --token {serving.operator_token}

In a browser, as an operator. The link signs in once, in the next five minutes:

{serving.console}
""")
        )

    def step(self, title: str) -> None:
        """Show the next step."""
        self._out.print(Text.assemble("\n", (f"▶ {title}", "bold")))

    def transition(self, row: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        """Show a transition: time, tenant, both states, cause, and the parameters."""
        cause = row["cause"] or {}
        line = Text.assemble(
            (clock(row["at"])[11:], "dim"),
            f"  {row['tenant']:<{_TENANT}} ",
            _state(row["from"]),
            " → ",
            _state(row["to"]),
            f"  {kind_and_key(cause.get('kind', ''), cause.get('key'))}",
        )
        self._out.print(line)
        values = parameters(present["parameters"], present["target_parameters"])
        self._out.print(Text(f"{'':14}{row['tenant']:<{_TENANT}} {values}"))

    def moving(self, present: Mapping[str, Any]) -> None:
        """Show a tenant on a ramp."""
        line = Text.assemble(
            (clock(present["now"])[11:], "dim"),
            f"  {present['tenant_id']:<{_TENANT}} ",
            _state(present["state"]),
            f" {_bar(present)} {parameters(present['parameters'])}",
        )
        self._out.print(line)

    def answer(self, answer: Answer) -> None:
        """Show the answer to a request; of a problem all its text."""
        if answer.failed:
            self._out.print(Text(f"  HTTP {answer.status}  {answer.problem()}", "red"))
            return
        document = answer.document
        what = f"{document.get('type', 'policy')} {document.get('operation_id', '')}".strip()
        status = document.get("status", f"version {document.get('policy_version')}")
        self._out.print(Text(f"  HTTP {answer.status}  {what}: {status}", "dim"))

    def checked(self, expectation: str, *, seen: bool) -> None:
        """Show whether an expectation was seen."""
        self._out.print(
            Text(f"  ✓ {expectation}", "green") if seen else Text(f"  ✗ not seen: {expectation}", "bold red")
        )


class JsonView:
    """JSON, one document a line."""

    def verdict(self, unseen: Sequence[str]) -> None:
        """Print what was not seen."""
        print_json({"unseen": unseen})

    def serving(self, serving: Serving) -> None:
        """Print the addresses and tokens."""
        print_json({"serving": serving._asdict()})

    def step(self, title: str) -> None:
        """Print the next step."""
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
        """Print whether an expectation was seen."""
        print_json({"expectation": expectation, "seen": seen})
