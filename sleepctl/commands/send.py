"""`sleepctl send`: sends a breaker event, or a command to one tenant or many."""

import uuid
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from pydantic_core import from_json

from schemas.wire.cloudevents import CONTENT_TYPE
from sleepctl.io.breaker_events import Emitted, breaker_event, emit
from sleepctl.io.kafka import KafkaLog
from sleepctl.io.requests import HERE, State, Token, Url, ask
from sleepctl.mass.commands import POLICY, CancelAll, OneCommand
from sleepctl.mass.options import (
    USUAL_RATE,
    All,
    DryRun,
    InState,
    Many,
    Rate,
    Run,
    TenantsFile,
    Unknown,
    Yes,
    send_to_many,
)
from sleepctl.runtime.event_loop import run as run_loop
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, read_file, settings_or_fail
from sleepctl.ui.output import Json, print_document

app = typer.Typer(help="Send a breaker event, or a command to tenants.", no_args_is_help=True, rich_markup_mode=None)

Sleeping = StrEnum("Sleeping", ["light", "deep", "freeze"])

Tenant = Annotated[str | None, typer.Option(help="A tenant other than the token's.")]
Reason = Annotated[str | None, typer.Option(help="The reason, for the audit.")]
Async = Annotated[bool, typer.Option("--async", help="Do not wait for the outcome.")]
Wait = Annotated[int | None, typer.Option(help="Seconds to wait for the outcome.", min=0, max=60)]


def preference(*, without_waiting: bool, wait: int | None) -> dict[str, str]:
    """Return the `Prefer` header of these options, if any."""
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
    target: Annotated[Sleeping, typer.Argument(help="The state.")],
    ttl: Annotated[float, typer.Option(help="Seconds until it expires.")],
    tenant: Tenant = None,
    reason: Reason = None,
    without_waiting: Async = False,
    wait: Wait = None,
    every: All = False,
    state: InState = None,
    file: TenantsFile = None,
    unknown: Unknown = False,
    run: Run = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    rate: Rate = USUAL_RATE,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Put a tenant to sleep for a while, or many tenants."""
    many = Many(every, state, file, unknown, run, yes, dry_run, rate)
    if many.wanted:
        document = {"target_state": target.value, "ttl_seconds": ttl, "reason": reason}
        waiting = preference(without_waiting=False, wait=wait)
        to_each = OneCommand("POST", "/api/util/sleep", _given(document), waiting, takes_reason=True)
        not_with = {"--tenant": tenant is not None, "--async": without_waiting}
        send_to_many(many, to_each, "sleep", document, url=url, token=token, json=json, not_with=not_with)
        return
    body = _body(target, reason, without_waiting=without_waiting) | {"ttl_seconds": ttl}
    headers = preference(without_waiting=False, wait=wait)
    ask(url, token, "POST", "/api/util/sleep", json=json, tenant=tenant, body=body, headers=headers)


@app.command()
def mode(  # noqa: PLR0913 - as above
    *,
    target: Annotated[State, typer.Argument(help="The state; `active` removes the mode.")],
    ttl: Annotated[float | None, typer.Option(help="Seconds until it expires.")] = None,
    override: Annotated[bool, typer.Option("--override", help="Set a pin: it alone decides until it ends.")] = False,
    tenant: Tenant = None,
    reason: Reason = None,
    without_waiting: Async = False,
    wait: Wait = None,
    every: All = False,
    state: InState = None,
    file: TenantsFile = None,
    unknown: Unknown = False,
    run: Run = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    rate: Rate = USUAL_RATE,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Set or remove a mode or a pin, of a tenant or of many."""
    many = Many(every, state, file, unknown, run, yes, dry_run, rate)
    if many.wanted:
        document = {
            "target_state": target.value,
            "override": override or None,
            "ttl_seconds": ttl,
            "reason": reason,
        }
        waiting = preference(without_waiting=False, wait=wait)
        to_each = OneCommand("POST", "/api/brain/sleep_mode", _given(document), waiting, takes_reason=True)
        not_with = {"--tenant": tenant is not None, "--async": without_waiting}
        send_to_many(many, to_each, "mode", document, url=url, token=token, json=json, not_with=not_with)
        return
    body = _body(target, reason, without_waiting=without_waiting)
    if ttl is not None:
        body["ttl_seconds"] = ttl
    if override:
        body["override"] = True
    headers = preference(without_waiting=False, wait=wait)
    ask(url, token, "POST", "/api/brain/sleep_mode", json=json, tenant=tenant, body=body, headers=headers)


@app.command()
def cancel(  # noqa: PLR0913 - as above
    *,
    operation_id: Annotated[
        str | None, typer.Argument(help="The operation to cancel; for many tenants each that is live.")
    ] = None,
    tenant: Tenant = None,
    without_waiting: Async = False,
    wait: Wait = None,
    every: All = False,
    state: InState = None,
    file: TenantsFile = None,
    unknown: Unknown = False,
    run: Run = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    rate: Rate = USUAL_RATE,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Cancel a utility sleep, or each live one of many tenants.

    A line of --file may also have an operation id after the tenant, with a space between. Then only that one ends.
    """
    many = Many(every, state, file, unknown, run, yes, dry_run, rate)
    if many.wanted:
        to_each = CancelAll(preference(without_waiting=False, wait=wait))
        not_with = {
            "--tenant": tenant is not None,
            "--async": without_waiting,
            "OPERATION_ID": operation_id is not None,
        }
        send_to_many(many, to_each, "cancel", {}, url=url, token=token, json=json, not_with=not_with)
        return
    if operation_id is None:
        raise CommandError("give an OPERATION_ID, or --all, --state or --file", WRONG_SETTINGS)
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
        typer.Option(help="Replace only this version of the policy; by default any version.", min=0),
    ] = None,
    tenant: Tenant = None,
    without_waiting: Async = False,
    wait: Wait = None,
    every: All = False,
    state: InState = None,
    tenants_file: TenantsFile = None,
    unknown: Unknown = False,
    run: Run = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    rate: Rate = USUAL_RATE,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Replace the policy of a tenant or many, or return to the default."""
    if (file is None) != default:
        raise CommandError("give either a FILE or --default", WRONG_SETTINGS)
    headers = preference(without_waiting=without_waiting, wait=wait)
    headers["If-Match"] = "*" if if_version is None else f'"{if_version}"'
    method, body = ("DELETE", None) if file is None else ("PUT", _json_object(file))
    many = Many(every, state, tenants_file, unknown, run, yes, dry_run, rate)
    if many.wanted:
        to_each = OneCommand(method, POLICY, body, headers)
        document = {"policy": "default" if body is None else body, "if_version": if_version}
        not_with = {"--tenant": tenant is not None, "--async": without_waiting}
        send_to_many(many, to_each, "policy", document, url=url, token=token, json=json, not_with=not_with)
        return
    ask(url, token, method, POLICY, json=json, tenant=tenant, body=body, headers=headers)


def _given(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body that have a value."""
    return {name: value for name, value in document.items() if value is not None}


def _json_object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file. The API checks its content."""
    try:
        document = from_json(read_file(file), allow_inf_nan=False)
    except ValueError as error:
        raise CommandError(f"{file} is not JSON: {error}", WRONG_SETTINGS) from None
    if not isinstance(document, dict):
        raise CommandError(f"{file} does not hold a JSON object", WRONG_SETTINGS)
    return document


@app.command()
def breaker(  # noqa: PLR0913 - the fields of an event
    *,
    state: Annotated[
        str,
        typer.Argument(help="closed, open, half_open, forced_open, disabled or metrics_only, in any common spelling."),
    ],
    tenant: Annotated[str, typer.Option(help="The tenant whose calls the breaker guards.")],
    name: Annotated[str, typer.Option(help="The breaker's name.")],
    instance: Annotated[str, typer.Option(help="The process that reports the state.")] = "",
    cause: Annotated[str | None, typer.Option(help="Why the state changed.")] = None,
    occurred_at: Annotated[int | None, typer.Option(help="When it changed, in milliseconds since the epoch.")] = None,
    direct: Annotated[bool, typer.Option("--direct", help="Write to the events topic, without ingress.")] = False,
    url: Annotated[str | None, typer.Option(help="Post the event to the API at this URL.")] = None,
    token: Token = "",
    json: Json = False,
) -> None:
    """Write a breaker event to Kafka, or post it to the API.

    The event goes to the breakers topic, unless --direct or --url is given.
    """
    data = {
        "breaker": name,
        "instance": instance,
        "state": state,
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
        async with KafkaLog(settings) as log:
            return await emit(log, topic, tenant, data)

    print_document(run_loop(send())._asdict(), as_json=json)
