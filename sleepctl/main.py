"""The entry point: all commands."""

from typing import Annotated

import typer

from sleepctl import deadletters, rules, send, topics
from sleepctl.errors import App, Group
from sleepctl.rebuild import rebuild
from sleepctl.run import run
from sleepctl.serve import api, worker
from sleepctl.settings_command import settings
from sleepctl.tenants import tenants
from sleepctl.token_command import token
from sleepctl.verify import verify

# Plain help and plain errors: one line on stderr says more to a script, and to a person in a log, than a box.
app = App(
    name="sleepctl",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Decides, per tenant, how deep a shared platform sleeps.",
)
app.command()(run)
app.command()(worker)
app.command()(api)
app.add_typer(topics.app, name="topics")
app.add_typer(rules.app, name="rules")
app.add_typer(deadletters.app, name="deadletters")
app.command()(verify)
app.command()(rebuild)
app.command()(token)
app.add_typer(send.app, name="send")
app.command()(send.state)
app.command()(tenants)
app.command()(settings)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - only here

        typer.echo(version("somabrain-sleep"))
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options of every command."""
