"""A client of Somabrain Sleep: reports circuit breakers from Python, and knows how every tenant sleeps.

- `emitter`: the emitter that callers create.
- `reader`, `async_reader`: the readers that callers create, for threads and for asyncio; `open_reader` is their base.
- `asgi`, `wsgi`: middleware, which puts the state on the request; `obeying` is what they share.
- `pybreaker`: the binding for pybreaker; it needs the extra of that name.
- `openfeature`: the provider for OpenFeature; it needs the extra of that name. `flags` are what it answers.
- `gate`: `sleep-gate`, a process beside a proxy; it needs the extra of that name.
- `emission`: the pure core of the emitter.
- `reading`: the pure core of the readers.
- `protocol`: what both cores know of the server.
- `runtime`: what touches the machine.
"""

from sleep_client.async_reader import AsyncSleepReader
from sleep_client.emission.report import DropReason, State
from sleep_client.emission.session import Status
from sleep_client.emitter import Emitter
from sleep_client.open_reader import Change
from sleep_client.reader import SleepReader
from sleep_client.reading.errors import NotReady, NotWatched, ReaderError
from sleep_client.reading.session import ReaderStatus, WhenStale
from sleep_client.reading.tenant_state import Cause, StateName, TenantState

__all__ = [
    "AsyncSleepReader",
    "Cause",
    "Change",
    "DropReason",
    "Emitter",
    "NotReady",
    "NotWatched",
    "ReaderError",
    "ReaderStatus",
    "SleepReader",
    "State",
    "StateName",
    "Status",
    "TenantState",
    "WhenStale",
]
__version__ = "0.1.0"
