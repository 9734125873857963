"""One request to the API: its options, and how its answer is printed."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from pydantic_core import to_json

from sleepctl.io.api_client import Answer, ApiClient
from sleepctl.runtime.event_loop import run
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, check_tenant
from sleepctl.ui.output import print_document

ACCEPTED: Final = 202
State = StrEnum("State", ["active", "light", "deep", "freeze"])

Url = Annotated[str, typer.Option(envvar="SLEEP_URL", help="The URL of the API.")]
Token = Annotated[
    str,
    typer.Option(
        envvar="SLEEP_TOKEN",
        help="The bearer token; the variable keeps it out of the process list.",
        show_default=False,
    ),
]
HERE: Final = "http://127.0.0.1:8080"


def ask(  # noqa: PLR0913 - a request has these parts
    url: str,
    token: str,
    method: str,
    path: str,
    *,
    json: bool,
    tenant: str | None,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    show: Callable[..., None] = print_document,
) -> None:
    """Send one request and print its answer with `show(document, as_json=json)`.

    Raises:
        CommandError: with the problem, if the answer is one; as JSON if `json` is set.
    """
    if tenant is not None:
        check_tenant(tenant, "the tenant")
    needed(token)

    async def call() -> Answer:
        async with ApiClient(url, token) as client:
            return await client.call(method, path, tenant=tenant, body=body, headers=headers)

    answer = run(call())
    if answer.failed:
        raise problem(answer, json=json)
    show(answer.document, as_json=json)
    if answer.status == ACCEPTED and "location" in answer.headers and not json:
        typer.echo(f"the outcome is not known yet; see {answer.headers['location']}", err=True)


def needed(token: str) -> None:
    """Check that there is a token.

    Raises:
        CommandError: if there is none; exit status 2.
    """
    if not token:
        raise CommandError("needed: --token or SLEEP_TOKEN", WRONG_SETTINGS)


def problem(answer: Answer, *, json: bool) -> CommandError:
    """Return a problem as the error of a command; as JSON if `json` is set."""
    return CommandError(to_json(answer.document).decode() if json else answer.problem())
