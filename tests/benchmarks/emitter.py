"""How long the caller of the Python client's `report` waits."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sleep_client import Emitter
from tests.benchmarks.figures import Figure, Latencies
from tests.services import Services
from tests.services.probe import free_port

_CALLS: Final = 20_000
_TENANTS: Final = 1_000


async def emitter(_services: Services, _directory: Path) -> list[Figure]:
    """Report while the server is away, which is the longest way: each report is kept, and the thread is busy too."""
    with Emitter(f"http://127.0.0.1:{free_port()}", "token") as reporting:

        def change(call: int) -> None:
            reporting.report(
                f"t-{call % _TENANTS}", "payments", "open" if call // _TENANTS % 2 else "closed", cause="x"
            )

        def repeat(_: int) -> None:
            reporting.report("acme", "payments", "open", cause="x")

        return [
            _measure("emitter: report, each a change", change),
            _measure("emitter: report, the same state again", repeat),
        ]


def _measure(name: str, report: Callable[[int], None]) -> Figure:
    milliseconds = []
    for call in range(_CALLS):
        begun = time.perf_counter()
        report(call)
        milliseconds.append((time.perf_counter() - begun) * 1000)
    latencies = Latencies.of(milliseconds)
    return Figure(name, more={"p50_us": latencies.p50 * 1000, "p99_us": latencies.p99 * 1000})
