"""`sleepctl send` and `sleepctl state`: what a service or an operator sends, from the outside."""

import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import typer
from pydantic_core import from_json, to_json

from schemas.cloudevents import CONTENT_TYPE
from sleepctl.breakers import Emitted, breaker_event, emit
from sleepctl.errors import WRONG_SETTINGS, CommandError, check_tenant, read_file, settings_or_fail
from sleepctl.process import run
from sleepctl.records import open_log
from sleepctl.show import Json, print_document
from sleepctl.tenant_view import print_tenant

if TYPE_CHECKING:
    from sleepctl.client import Answer

ACCEPTED: Final = 202
app = typer.Typer(help="Send a breaker event or a command.", no_args_is_help=True)

State = StrEnum("State", ["active", "light", "deep", "freeze"])
Sleeping = StrEnum("Sleeping", ["light", "deep", "freeze"])
Breaker = StrEnum("Breaker", ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"])

Url = Annotated[str, typer.Option(envvar="SLEEP_URL", help="Where the API serves.")]
Token = Annotated[
    str,
    typer.Option(
        envvar="SLEEP_TOKEN",
        help="Bearer token; the variable keeps it out of the process list.",
        show_default=False,
    ),
]
Tenant = Annotated[str | None, typer.Option(help="Another tenant than the token's own.")]
Reason = Annotated[str | None, typer.Option(help="Why, for people and the audit.")]
Async = Annotated[bool, typer.Option("--async", help="Do not wait for the outcome.")]
Wait = Annotated[int | None, typer.Option(help="Seconds to wait for the outcome.", min=0, max=60)]
HERE: Final = "http://127.0.0.1:8080"


def ask(  # noqa: PLR0913 - a request is what it is
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
        CommandError: with the problem, if it is one; as JSON where JSON is wanted.
    """
    from sleepctl.client import Door  # noqa: PLC0415 - loads the HTTP client

    if tenant is not None:
        check_tenant(tenant, "the tenant")
    needed(token)

    async def call() -> Any:  # noqa: ANN401 - an Answer, known only here
        async with Door(url, token) as door:
            return await door.call(method, path, tenant=tenant, body=body, headers=headers)

    answer = run(call())
    if answer.failed:
        raise problem(answer, json=json)
    show(answer.document, as_json=json)
    if answer.status == ACCEPTED and "location" in answer.headers and not json:
        typer.echo(f"not known yet; see {answer.headers['location']}", err=True)


def needed(token: str) -> None:
    """Go on only with a token.

    Raises:
        CommandError: that says where to put one; exit status 2.
    """
    if not token:
        raise CommandError("needed: --token or SLEEP_TOKEN", WRONG_SETTINGS)


def problem(answer: "Answer", *, json: bool) -> CommandError:
    """Return the failure that a problem is, as JSON where JSON is wanted."""
    return CommandError(to_json(answer.document).decode() if json else answer.problem())


def preference(*, without_waiting: bool, wait: int | None) -> dict[str, str]:
    """Return the header that says how long the caller wants to wait."""
    chosen = (["respond-async"] if without_waiting else []) + ([] if wait is None else [f"wait={wait}"])
    return {"Prefer": ", ".join(chosen)} if chosen else {}


def _body(target: str, reason: str | None, *, without_waiting: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"target_state": target}
    if without_waiting:
        body["async_mode"] = True
    if reason is not None:
        body["reason"] = reason
    return body


@app.command()
def sleep(  # noqa: PLR0913 - the options of a request
    *,
    target: Annotated[Sleeping, typer.Argument(help="How deep.")],
    ttl: Annotated[float, typer.Option(help="Seconds until it ends by itself.")],
    tenant: Tenant = None,
    reason: Reason = None,
    without_waiting: Async = False,
    wait: Wait = None,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Put a tenant to sleep for a while."""
    body = _body(target, reason, without_waiting=without_waiting) | {"ttl_seconds": ttl}
    headers = preference(without_waiting=False, wait=wait)
    ask(url, token, "POST", "/api/util/sleep", json=json, tenant=tenant, body=body, headers=headers)


@app.command()
def mode(  # noqa: PLR0913 - as above
    *,
    target: Annotated[State, typer.Argument(help="How deep; `active` removes the mode.")],
    ttl: Annotated[float | None, typer.Option(help="Seconds until it ends by itself.")] = None,
    override: Annotated[bool, typer.Option("--override", help="Pin: this alone decides while it lives.")] = False,
    tenant: Tenant = None,
    reason: Reason = None,
    without_waiting: Async = False,
    wait: Wait = None,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Set or remove a tenant's mode, or with --override its pin."""
    body = _body(target, reason, without_waiting=without_waiting)
    if ttl is not None:
        body["ttl_seconds"] = ttl
    if override:
        body["override"] = True
    headers = preference(without_waiting=False, wait=wait)
    ask(url, token, "POST", "/api/brain/sleep_mode", json=json, tenant=tenant, body=body, headers=headers)


@app.command()
def cancel(
    *,
    operation_id: Annotated[str, typer.Argument(help="The operation to end.")],
    tenant: Tenant = None,
    without_waiting: Async = False,
    wait: Wait = None,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """End a utility sleep before its time."""
    headers = preference(without_waiting=without_waiting, wait=wait)
    path = f"/api/util/sleep/{quote(operation_id, safe='')}"
    ask(url, token, "DELETE", path, json=json, tenant=tenant, headers=headers)


@app.command()
def policy(  # noqa: PLR0913 - as above
    *,
    file: Annotated[Path | None, typer.Argument(help="The policy, a JSON object.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Return to the default policy.")] = False,
    if_version: Annotated[
        int | None,
        typer.Option(help="Only if the policy has this version; otherwise whatever it has.", min=0),
    ] = None,
    tenant: Tenant = None,
    without_waiting: Async = False,
    wait: Wait = None,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Replace a tenant's policy, or return to the default one."""
    if (file is None) != default:
        raise CommandError("give either a FILE or --default", WRONG_SETTINGS)
    headers = preference(without_waiting=without_waiting, wait=wait)
    headers["If-Match"] = "*" if if_version is None else f'"{if_version}"'
    path = "/api/brain/sleep_policy"
    if file is None:
        ask(url, token, "DELETE", path, json=json, tenant=tenant, headers=headers)
    else:
        ask(url, token, "PUT", path, json=json, tenant=tenant, body=_json_object(file), headers=headers)


def _json_object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file; what it means is the API's to judge."""
    try:
        document = from_json(read_file(file), allow_inf_nan=False)
    except ValueError as error:
        raise CommandError(f"{file} is not JSON: {error}", WRONG_SETTINGS) from None
    if not isinstance(document, dict):
        raise CommandError(f"{file} holds no JSON object", WRONG_SETTINGS)
    return document


@app.command()
def breaker(  # noqa: PLR0913 - the fields of an event
    *,
    state: Annotated[Breaker, typer.Argument(help="The state that the breaker is in.")],
    tenant: Annotated[str, typer.Option(help="The tenant whose calls it guards.")],
    name: Annotated[str, typer.Option(help="The breaker's name.")],
    instance: Annotated[str, typer.Option(help="The process that reports it.")] = "",
    cause: Annotated[str | None, typer.Option(help="Why it changed.")] = None,
    occurred_at: Annotated[int | None, typer.Option(help="When, in milliseconds since the epoch.")] = None,
    direct: Annotated[bool, typer.Option("--direct", help="Onto the events topic, past ingress.")] = False,
    url: Annotated[str | None, typer.Option(help="Post it to the API there, as an emitter without Kafka does.")] = None,
    token: Token = "",
    json: Json = False,
) -> None:
    """Write a breaker event to Kafka, or post it to the API.

    It goes onto the breakers topic, unless --direct or --url says otherwise.
    """
    data = {
        "breaker": name,
        "instance": instance,
        "state": state.value,
        "cause": cause,
        "occurred_at": occurred_at,
        "library": "sleepctl",
    }
    if url is not None:
        if direct:
            raise CommandError("give either --url or --direct", WRONG_SETTINGS)
        event = from_json(breaker_event(tenant, data, str(uuid.uuid4())))
        headers = {"Content-Type": CONTENT_TYPE}
        ask(url, token, "POST", "/api/breakers/events", json=json, tenant=None, body=event, headers=headers)
        return
    settings = settings_or_fail()
    topic = settings.topics.events if direct else settings.topics.breakers

    async def send() -> Emitted:
        async with open_log(settings) as log:
            return await emit(log, topic, tenant, data)

    print_document(run(send())._asdict(), as_json=json)


def state(
    tenant: Annotated[str, typer.Argument(help="The tenant to look at.")],
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Show a tenant as it is now, why, and what comes by itself."""
    ask(url, token, "GET", "/api/brain/sleep_mode", json=json, tenant=tenant, show=print_tenant)
