"""The options of a command that can act on many tenants."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from sleepctl.io.requests import State
from sleepctl.io.tenant_pages import Calls
from sleepctl.mass.commands import MassCommand
from sleepctl.mass.session import MOST_RATE, RATE, Door, Work, carry_out
from sleepctl.mass.targets import Selection, known, listed, targets_in
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

All = Annotated[bool, typer.Option("--all", help="Act on every tenant that has a record.")]
InState = Annotated[State | None, typer.Option("--state", help="Act on every tenant that is in this state now.")]
TenantsFile = Annotated[Path | None, typer.Option("--file", help="Act on the tenants in this file, one a line.")]
Unknown = Annotated[bool, typer.Option("--unknown", help="With --file: also tenants that have no record.")]
Run = Annotated[
    str | None,
    typer.Option(help="The run's name, or a path to its file. Given again, it continues an interrupted run."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for the number of tenants.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many tenants it would be, and send nothing.")]
Rate = Annotated[float, typer.Option(help="Requests a second, at most.", min=0.1, max=MOST_RATE)]
USUAL_RATE = RATE


class Many(NamedTuple):
    """The options of one call: how tenants are chosen, and how they are sent to."""

    every: bool
    state: State | None
    file: Path | None
    unknown: bool
    run: str | None
    yes: bool
    dry_run: bool
    rate: float

    @property
    def wanted(self) -> bool:
        """Whether the call is about many tenants.

        Raises:
            CommandError: if tenants are chosen in two ways, or an option needs that they are chosen; exit status 2.
        """
        ways = [self.every, self.state is not None, self.file is not None]
        if sum(ways) > 1:
            raise CommandError("give one of --all, --state and --file", WRONG_SETTINGS)
        if self.unknown and self.file is None:
            raise CommandError("--unknown needs --file", WRONG_SETTINGS)
        if not any(ways) and (self.run is not None or self.yes or self.dry_run):
            raise CommandError("--run, --yes and --dry-run need --all, --state or --file", WRONG_SETTINGS)
        return any(ways)


def send_to_many(  # noqa: PLR0913 - the parts of a call
    many: Many,
    command: MassCommand,
    kind: str,
    document: dict[str, Any],
    *,
    url: str,
    token: str,
    json: bool,
    not_with: dict[str, bool],
) -> None:
    """Send a command to many tenants, or continue to.

    Args:
        many: how tenants are chosen.
        command: what is sent to each.
        kind: its name, such as `mode`.
        document: the command as JSON, for people and for the run's file.
        url: that of the API.
        token: the bearer token.
        json: whether all output is JSON.
        not_with: options that are for one tenant only, and whether each is given.

    Raises:
        CommandError: if such an option is given, or the run fails.
    """
    for option, given in not_with.items():
        if given:
            raise CommandError(
                f"{option} is for one tenant, and --all, --state and --file are for many", WRONG_SETTINGS
            )
    state = None if many.state is None else many.state.value
    chosen = {"all": many.every, "state": state, "file": None if many.file is None else str(many.file)}
    title = " ".join([kind, *(f"{name}={value}" for name, value in document.items() if value is not None)])

    async def select(api: Calls) -> Selection:
        if many.file is None:
            return await listed(api, state, json=json)
        targets = targets_in(many.file, with_operation=kind == "cancel")
        return await known(api, targets, many.file, unknown=many.unknown, json=json)

    work = Work(kind, title, {"command": kind, **document, **chosen}, command, select)
    carry_out(Door(url, token, many.rate, json), work, many.run, yes=many.yes, dry_run=many.dry_run)
