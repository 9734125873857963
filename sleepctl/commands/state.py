"""`sleepctl state`: shows one tenant."""

from typing import Annotated

import typer

from sleepctl.io.requests import HERE, Token, Url, ask
from sleepctl.ui.output import Json
from sleepctl.ui.tenant import print_tenant


def state(
    tenant: Annotated[str, typer.Argument(help="The tenant to show.")],
    url: Url = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Show a tenant's state, its reason, and its forecast."""
    ask(url, token, "GET", "/api/brain/sleep_mode", json=json, tenant=tenant, show=print_tenant)
