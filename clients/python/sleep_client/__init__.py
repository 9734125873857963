"""A client of Somabrain Sleep: reports circuit breakers from Python.

- `emitter`: the emitter that callers create.
- `pybreaker`: the binding for pybreaker; it needs the extra of that name.
- `emission`: the pure core.
- `runtime`: what touches the machine.
"""

from sleep_client.emission.report import DropReason, State
from sleep_client.emission.session import Status
from sleep_client.emitter import Emitter

__all__ = ["DropReason", "Emitter", "State", "Status"]
__version__ = "0.1.0"
