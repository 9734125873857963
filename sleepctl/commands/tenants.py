"""`sleepctl tenants`: lists tenants with their states, page by page."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer
from rich.text import Text

from sleepctl.io.api_client import ApiClient
from sleepctl.io.requests import HERE, State, Token, Url, needed, problem
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import CommandError
from sleepctl.ui.output import Json, clock, console, kind_and_key, print_json

_PATH: Final = "/api/tenants"
_PAGE: Final = 1000
# Column widths are fixed, since rows are printed as their page comes. A longer name shifts only its own row.
_NAME: Final = 32
_TIME: Final = 24
_STATE: Final = 6


def tenants(
    *,
    state: Annotated[State | None, typer.Option(help="Only tenants in this state.")] = None,
    open_ended: Annotated[
        bool, typer.Option("--open-ended", help="Only tenants that a pin or a claim without expiry keeps asleep.")
    ] = False,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """List the tenants and their states, with counts."""
    query: dict[str, str | int] = {"limit": _PAGE}
    if state is not None:
        query["state"] = state.value
    if open_ended:
        query["open_ended"] = "true"
    needed(token)

    async def show() -> None:
        listed: list[dict[str, Any]] = []
        seen: set[str] = set()
        page: dict[str, Any] = {}
        async with ApiClient(url, token) as client:
            async for page in _pages(client, query, json=json):
                # A tenant that changes while the list is read may come twice.
                fresh = [entry for entry in page["tenants"] if entry["tenant_id"] not in seen]
                seen.update(entry["tenant_id"] for entry in fresh)
                if json:
                    listed += fresh
                else:
                    _print(fresh)
        if json:
            print_json({"tenants": listed, "counts": page["counts"], "open_ended": page["open_ended"]})
        else:
            _print_counts(len(seen), page["counts"], page["open_ended"])

    run(show())


async def _pages(client: ApiClient, query: Mapping[str, Any], *, json: bool) -> AsyncIterator[dict[str, Any]]:
    """Yield the pages of the list.

    Raises:
        CommandError: with the problem, if the API answers with one.
    """
    cursor: str | None = None
    while True:
        parameters = {**query} if cursor is None else {**query, "cursor": cursor}
        answer = await client.call("GET", f"{_PATH}?{urlencode(parameters)}")
        if answer.failed:
            raise problem(answer, json=json)
        yield answer.document
        following = answer.document["cursor"]
        if following is None:
            return
        if following == cursor:
            raise CommandError("the API sent the same cursor twice, so the list would never end")
        cursor = following


def _print(entries: list[dict[str, Any]]) -> None:
    out = console()
    for entry in entries:
        cause, forecast = entry["cause"], entry["forecast"]
        why = "" if cause is None else kind_and_key(cause["kind"], cause["key"])
        then = "".join(f"  → {step['state']} at {clock(step['at'])}" for step in forecast[:1])
        head = f"{entry['tenant_id']:<{_NAME}}  {entry['state']:<{_STATE}}  "
        out.print(Text.assemble(head, (f"{clock(entry['since']):<{_TIME}}  ", "dim"), (why + then).strip()))


def _print_counts(shown: int, counts: Mapping[str, int], open_ended: int) -> None:
    """Print on stderr how many tenants were shown, and how many there are in all."""
    by_state = ", ".join(f"{name} {count}" for name, count in counts.items())
    typer.echo(f"{shown} shown; of all tenants {by_state}; {open_ended} without an end", err=True)
