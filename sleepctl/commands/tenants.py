"""`sleepctl tenants`: lists tenants with their states, page by page."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from sleepctl.io.api_client import ApiClient
from sleepctl.io.requests import HERE, State, Token, Url, needed
from sleepctl.io.tenant_pages import tenant_pages
from sleepctl.runtime.event_loop import run
from sleepctl.ui.output import Json, clock, console, kind_and_key, print_json

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
    query: dict[str, str] = {}
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
            async for page in tenant_pages(client, query, json=json):
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
