"""The options of a command that may run as several processes."""

from typing import Annotated, Final

import typer

MOST: Final = 64
Processes = Annotated[
    int,
    typer.Option(
        min=1,
        max=MOST,
        help="How many processes share the port: up to one for each core. One that ends is started again.",
    ),
]
Child = Annotated[
    str | None,
    typer.Option("--child", hidden=True, help="The place of a process among several; its parent gives it."),
]
