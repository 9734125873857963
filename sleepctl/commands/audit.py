"""`sleepctl audit`: who slept a tenant, why, and who was refused."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import nullcontext
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from schemas.clock import now_ms
from sleepctl.io.api_client import Answer, ApiClient
from sleepctl.io.requests import HERE, Token, Url, needed, problem
from sleepctl.io.times import time_in
from sleepctl.runtime.event_loop import run
from sleepctl.ui.audit_row import line
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, check_tenant
from sleepctl.ui.output import Json, clock, console, print_json
from sleepctl.ui.progress import progress_bar

Kind = StrEnum("Kind", ["transition", "outcome", "refusal"])
_PATH: Final = "/api/audit"
_PAGE: Final = 500
_SHOWN: Final = 100
_MOST: Final = 1_000_000
_REMEMBERED: Final = 20_000
"""Ids of rows that were shown, so that a row that was written again long after is left out."""
_TRIES: Final = 5
_LONGEST_WAIT_SECONDS: Final = 60.0
_TIME: Final = "TIME"
_EARLY_MS: Final = 120_000
"""A row may have been written so long before its time: the clocks of Kafka and of a worker may differ."""
_AGAIN: Final = frozenset({429, 503})
Pause = Callable[[float], Awaitable[None]]


def audit(  # noqa: PLR0913 - a command has these options
    *,
    tenant: Annotated[
        str | None, typer.Argument(help="Only the rows of this tenant; without it of all, which needs sleep:operate.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar=_TIME, help="Only what happened from then on: a time, or how long ago."),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar=_TIME, help="Only what happened before then.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only rows of this kind.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only commands of this actor, the `sub` of a token.")] = None,
    limit: Annotated[int, typer.Option(min=0, max=_MOST, help="How many rows to show; 0 for all.")] = _SHOWN,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Show who slept a tenant, why, and who was refused.

    The newest row comes first. A time is such as 2026-11-30T09:00:00Z, 2h (two hours ago), or milliseconds since the
    epoch.
    """
    if tenant is not None:
        check_tenant(tenant, "the tenant")
    now = now_ms()
    bounds = {name: time_in(text, f"--{name}", now) for name, text in (("from", from_), ("to", to)) if text is not None}
    if len(bounds) > 1 and bounds["from"] >= bounds["to"]:
        raise CommandError("--from must be before --to", WRONG_SETTINGS)
    needed(token)
    query: dict[str, str | int] = {**bounds}
    given = (("tenant", tenant), ("kind", None if kind is None else kind.value), ("actor", actor))
    query |= {name: value for name, value in given if value is not None}
    run(_show(url, token, query, limit, json=json))


async def _show(url: str, token: str, query: Mapping[str, str | int], limit: int, *, json: bool) -> None:
    shown = unreadable = 0
    page: dict[str, Any] = {}
    out = console()
    seen: dict[tuple[str, int], None] = {}
    # Rows on a terminal show by themselves that the search goes on.
    with nullcontext() if sys.stdout.isatty() else progress_bar("pages") as bar:
        async with ApiClient(url, token) as client:
            async for page in pages(client, query, limit, json=json):
                unreadable += page["unreadable"]
                for row in page["rows"]:
                    identity = row["id"], row["at"]
                    if identity in seen or (limit and shown == limit):
                        continue
                    seen[identity] = None
                    if len(seen) > _REMEMBERED:
                        del seen[next(iter(seen))]
                    shown += 1
                    if json:
                        print_json(row)
                    else:
                        out.print(line(row))
                if bar is not None:
                    bar.advance()
                if limit and shown == limit:
                    break
    if not json:
        typer.echo(_summary(shown, page, limit), err=True)
    if unreadable:
        typer.echo(f"sleepctl: warning: {unreadable} records are no rows of the audit, and are not shown", err=True)


def _summary(shown: int, page: Mapping[str, Any], limit: int) -> str:
    rows = "1 row" if shown == 1 else f"{shown} rows"
    until = page["searched_until"]
    if page["cursor"] is not None:
        return f"{rows}, from {clock(until)} on; --limit {10 * limit} shows more"
    return f"{rows}; " + ("all that is kept was searched" if until is None else f"searched from {clock(until)} on")


async def pages(
    client: ApiClient, query: Mapping[str, str | int], limit: int, *, json: bool, pause: Pause = asyncio.sleep
) -> AsyncIterator[dict[str, Any]]:
    """Yield the pages of the audit. A page that cannot be had at present is asked for again a few times.

    Raises:
        CommandError: with the problem, if the API answers with one; it says how far the search has come.
    """
    size = min(limit or _PAGE, _PAGE)
    cursor: str | None = None
    until: int | None = None
    while True:
        parameters = {**query, "limit": size} | ({} if cursor is None else {"cursor": cursor})
        answer = await _ask(client, f"{_PATH}?{urlencode(parameters)}", pause)
        if answer.failed:
            error = problem(answer, json=json)
            if until is None or json:
                raise error
            complete_from = until + _EARLY_MS
            raise CommandError(
                f"{error}\n  what is shown is complete from {clock(complete_from)} on; go on with --to {complete_from}"
            )
        yield answer.document
        following, until = answer.document["cursor"], answer.document["searched_until"]
        if following is None:
            return
        if following == cursor:
            raise CommandError("the API sent the same cursor twice, so the search would never end")
        cursor = following


async def _ask(client: ApiClient, path: str, pause: Pause) -> Answer:
    """Return an answer; one that says that the API cannot answer at present only after some tries."""
    for _ in range(_TRIES - 1):
        answer = await client.call("GET", path)
        if answer.status not in _AGAIN:
            return answer
        wait = answer.headers.get("retry-after", "1")
        await pause(min(float(wait) if wait.isdecimal() else 1.0, _LONGEST_WAIT_SECONDS))
    return await client.call("GET", path)
