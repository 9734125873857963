"""All metrics that there are, by the process that exports them."""

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from schemas.metrics import api, worker
from schemas.metrics.definition import Definition
from schemas.metrics.parent import BY_COMMAND


def _of(module: ModuleType) -> tuple[Definition, ...]:
    """Return the metrics that a module defines, in its order."""
    return tuple(value for value in vars(module).values() if isinstance(value, Definition))


API: Final = _of(api)
WORKER: Final = _of(worker)
PARENT: Final[tuple[Definition, ...]] = tuple(metric for of_command in BY_COMMAND.values() for metric in of_command)
ALL: Final[Mapping[str, Definition]] = {metric.name: metric for metric in (*API, *WORKER, *PARENT)}
"""Every metric, by its name."""
