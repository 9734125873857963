"""`sleepctl policies`: all tenants' own policies, to a file and back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from schemas.clock import now_ms
from sleepctl.io.api_client import ApiClient
from sleepctl.io.requests import HERE, Token, Url, needed, problem
from sleepctl.io.tenant_pages import Calls, tenant_pages
from sleepctl.mass.commands import POLICY, ReplacePolicy
from sleepctl.mass.options import USUAL_RATE, DryRun, Rate, Run, Yes
from sleepctl.mass.patient_api import NoAnswerError, Pace, PatientApi
from sleepctl.mass.policy_file import policies_in, write_policies
from sleepctl.mass.session import Door, Work, carry_out
from sleepctl.mass.targets import Selection, known
from sleepctl.runtime.event_loop import run as run_loop
from sleepctl.ui.errors import CommandError
from sleepctl.ui.output import Json, print_json
from sleepctl.ui.progress import ProgressBar, progress_bar

_AT_ONCE: Final = 64
app = typer.Typer(help="Export or import the policies of all tenants.", no_args_is_help=True, rich_markup_mode=None)


@app.command(name="export")
def export_policies(
    *,
    file: Annotated[Path, typer.Argument(help="The file to write: a JSON object a line.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace the file if it is there.")] = False,
    rate: Rate = USUAL_RATE,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Write all tenants' own policies to a file, with their versions.

    They are sorted by tenant. The file appears when it is complete. Policies that change meanwhile are as they were
    when they were read.
    """
    needed(token)

    async def export() -> int:
        with progress_bar("policies") as bar:
            async with ApiClient(url, token) as client:
                api = PatientApi(client, f"export-{now_ms()}", Pace(rate))
                return await write_policies(file, _own_policies(api, bar, json=json), replace=replace)

    try:
        count = run_loop(export())
    except NoAnswerError as error:
        raise CommandError(f"{error}; {file} is not written") from None
    if json:
        print_json({"file": str(file), "policies": count})
    else:
        typer.echo(f"{count} policies are in {file}", err=True)


async def _own_policies(api: Calls, bar: ProgressBar, *, json: bool) -> AsyncIterator[dict[str, Any]]:
    tenants: set[str] = set()
    async for page in tenant_pages(api, {}, json=json):
        # The version of a tenant that never had a policy is 0.
        tenants.update(entry["tenant_id"] for entry in page["tenants"] if entry["policy_version"])
    names = sorted(tenants)
    bar.begin(len(names))
    for first in range(0, len(names), _AT_ONCE):
        chunk = names[first : first + _AT_ONCE]
        answers = await asyncio.gather(*(api.call("GET", POLICY, tenant=tenant) for tenant in chunk))
        for tenant, answer in zip(chunk, answers, strict=True):
            if answer.failed:
                raise problem(answer, json=json)
            bar.advance()
            if not answer.document["default"]:
                yield {"tenant": tenant, **answer.document}


@app.command(name="import")
def import_policies(  # noqa: PLR0913 - as the commands to many tenants
    *,
    file: Annotated[Path, typer.Argument(help="A file of `policies export`.")],
    any_version: Annotated[bool, typer.Option("--any-version", help="Replace whatever version a tenant has.")] = False,
    unknown: Annotated[bool, typer.Option("--unknown", help="Also tenants that have no record.")] = False,
    run: Run = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    rate: Rate = USUAL_RATE,
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Replace policies by those of a file, version by version.

    A policy is replaced if its tenant still has the version that the file says. A tenant that has the policy already is
    left alone. A tenant with another version is named as a conflict, and keeps its policy. Tenants that are not in the
    file are left alone.
    """

    async def select(api: Calls) -> Selection:
        return await known(api, policies_in(file, any_version=any_version), file, unknown=unknown, json=json)

    document = {"command": "policies import", "file": str(file), "any_version": any_version}
    work = Work("import", f"policies import {file}", document, ReplacePolicy(any_version=any_version), select)
    carry_out(Door(url, token, rate, json), work, run, yes=yes, dry_run=dry_run)
