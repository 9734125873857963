"""The metrics of the parent of several processes of one command, `api` or `worker`."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.metrics.definition import CounterDefinition, GaugeDefinition, Label

_PROCESSES: Final = "Processes of this command, by whether they run."
_RESTARTS: Final = "How often a process was started again."
_STATE: Final = Label("state", ("running", "ended"))
_PROCESS: Final = Label("process", bound="the numbers from 1 to that of `--processes`")


class ParentMetrics(NamedTuple):
    """How many processes of a command run, and how often each was started again."""

    processes: GaugeDefinition
    restarts: CounterDefinition


BY_COMMAND: Final[Mapping[str, ParentMetrics]] = {
    "api": ParentMetrics(
        GaugeDefinition("sleep_api_processes", _PROCESSES, (_STATE,)),
        CounterDefinition("sleep_api_process_restarts_total", _RESTARTS, (_PROCESS,)),
    ),
    "worker": ParentMetrics(
        GaugeDefinition("sleep_worker_processes", _PROCESSES, (_STATE,)),
        CounterDefinition("sleep_worker_process_restarts_total", _RESTARTS, (_PROCESS,)),
    ),
}
