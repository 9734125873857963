"""All commands. Each is loaded when it is used: the clients of Kafka, Redis and HTTP take a second to load."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final, NamedTuple

import typer

from sleepctl.runtime.loading import loading
from sleepctl.ui.errors import App, Group
from sleepctl.ui.examples import add_examples


class Lazy(NamedTuple):
    """A command that is loaded when it is used.

    Attributes:
        place: its module below `sleepctl.commands` and its name there, with a colon between.
        summary: the first sentence of its help.
    """

    place: str
    summary: str


COMMANDS: Final = {
    "run": Lazy("run:run", "Start everything embedded, play a scenario, then serve."),
    "worker": Lazy("worker:worker", "Run a worker until SIGTERM or SIGINT."),
    "api": Lazy("api:api", "Run the API until SIGTERM or SIGINT."),
    "topics": Lazy("topics:app", "Create or check the topics."),
    "rules": Lazy("rules:app", "Show or apply the rules."),
    "policies": Lazy("policies:app", "Export or import the policies of all tenants."),
    "import-somabrain": Lazy("import_somabrain:import_somabrain", "Import the sleeping tenants of the predecessor."),
    "deadletters": Lazy("deadletters:app", "List dead letters, or put their records back."),
    "verify": Lazy("verify:verify", "Compare the log, Redis and the states topic."),
    "replay": Lazy("replay:replay", "Fold a range of the log again, and show what changes."),
    "rebuild": Lazy("rebuild:rebuild", "Restore Redis from the states topic and the log."),
    "partitions": Lazy("partitions:app", "Move to new topics with another number of partitions."),
    "storm": Lazy("storm:storm", "Make load: breaker events of tenants of its own."),
    "token": Lazy("token:token", "Print a token for development."),
    "send": Lazy("send:app", "Send a breaker event, or a command to tenants."),
    "state": Lazy("state:state", "Show a tenant's state, its reason, and its forecast."),
    "tenants": Lazy("tenants:tenants", "List the tenants and their states, with counts."),
    "audit": Lazy("audit:audit", "Show who slept a tenant, why, and who was refused."),
    "watch": Lazy("watch:watch", "Show states as they change, until Ctrl-C."),
    "health": Lazy("health:health", "Ask `/healthz` of API and worker on this machine."),
    "settings": Lazy("settings:settings", "List every SLEEP_ variable, its value and its meaning."),
}


class LazyGroup(Group):
    """The group of all commands. It loads only the command that is called."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - as typer has it
        super().__init__(**attributes)
        # Typer suggests one of these names after a misspelt one.
        self.commands: Any = dict.fromkeys(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - as above
        """Load a command; None if no command has that name."""
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Write the list of commands into the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])


def _load(name: str) -> Any:  # noqa: ANN401 - as above
    module, _, attribute = COMMANDS[name].place.partition(":")
    with loading():
        loaded: typer.Typer | Callable[..., Any] = getattr(import_module(f"sleepctl.commands.{module}"), attribute)
    if isinstance(loaded, typer.Typer):
        command: Any = typer.main.get_group(loaded)
    else:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command()(loaded)
        command = typer.main.get_command(alone)
    command.name = name
    add_examples(name, command)
    return command


# Plain help and plain errors: scripts and logs read one line better than a box.
app = App(
    name="sleepctl",
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Decides, per tenant, how deep a shared platform sleeps.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("somabrain-sleep"))
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Handle the options that precede every command."""
