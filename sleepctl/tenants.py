"""`sleepctl tenants`: every tenant with its state, or those in one state or without an end, page by page."""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlencode

import typer
from rich.text import Text

from sleepctl.errors import CommandError
from sleepctl.process import run
from sleepctl.send import HERE, State, Token, Url, needed, problem
from sleepctl.show import Json, clock, console, print_json

if TYPE_CHECKING:
    from sleepctl.client import Door

_PATH: Final = "/api/tenants"
_PAGE: Final = 1000
# Rows are printed as their page comes, so that a long list needs no memory; a longer name moves its own row only.
_NAME: Final = 32
_TIME: Final = 24
_STATE: Final = 6


def tenants(
    *,
    state: Annotated[State | None, typer.Option(help="Those in this state only.")] = None,
    open_ended: Annotated[
        bool, typer.Option("--open-ended", help="Those only that a pin, or a claim without an end, keeps.")
    ] = False,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """List the tenants as they are now, and how many there are."""
    from sleepctl.client import Door  # noqa: PLC0415 - loads the HTTP client

    query: dict[str, str | int] = {"limit": _PAGE}
    if state is not None:
        query["state"] = state.value
    if open_ended:
        query["open_ended"] = "true"
    needed(token)

    async def show() -> None:
        found: list[dict[str, Any]] = []
        seen: set[str] = set()
        page: dict[str, Any] = {}
        async with Door(url, token) as door:
            async for page in _pages(door, query, json=json):
                # What moves while it is walked through may be met twice.
                fresh = [entry for entry in page["tenants"] if entry["tenant_id"] not in seen]
                seen.update(entry["tenant_id"] for entry in fresh)
                if json:
                    found += fresh
                else:
                    _print(fresh)
        if json:
            print_json({"tenants": found, "counts": page["counts"], "open_ended": page["open_ended"]})
        else:
            _print_counts(len(seen), page["counts"], page["open_ended"])

    run(show())


async def _pages(door: "Door", query: Mapping[str, Any], *, json: bool) -> AsyncIterator[dict[str, Any]]:
    """Yield one page after the other.

    Raises:
        CommandError: with the problem, where the API answers one.
    """
    cursor: str | None = None
    while True:
        asked = {**query} if cursor is None else {**query, "cursor": cursor}
        answer = await door.call("GET", f"{_PATH}?{urlencode(asked)}")
        if answer.failed:
            raise problem(answer, json=json)
        yield answer.document
        following = answer.document["cursor"]
        if following is None:
            return
        if following == cursor:
            raise CommandError("the API answered the same cursor twice; the list would never end")
        cursor = following


def _print(entries: list[dict[str, Any]]) -> None:
    out = console()
    for entry in entries:
        cause, forecast = entry["cause"], entry["forecast"]
        why = "" if cause is None else " ".join(filter(None, (cause["kind"], cause["key"])))
        then = "".join(f"  → {step['state']} at {clock(step['at'])}" for step in forecast[:1])
        head = f"{entry['tenant_id']:<{_NAME}}  {entry['state']:<{_STATE}}  "
        out.print(Text.assemble(head, (f"{clock(entry['since']):<{_TIME}}  ", "dim"), (why + then).strip()))


def _print_counts(shown: int, counts: Mapping[str, int], open_ended: int) -> None:
    """Say how many were shown, on stderr, and how many there are at all."""
    all_of_them = ", ".join(f"{name} {count}" for name, count in counts.items())
    typer.echo(f"{shown} shown; of all tenants {all_of_them}; {open_ended} without an end", err=True)
