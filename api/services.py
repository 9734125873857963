"""Everything that routes use, wired once."""

from dataclasses import dataclass

from api.auth import Verifier
from api.authorise import Authoriser
from api.clock import Clock
from api.commands import Commands
from api.emit import Emitter
from api.limits import Limiter
from api.metrics import Metrics
from api.reads import Reads
from api.status import Status
from api.streams import Streams
from api.tenants import Tenants


@dataclass(frozen=True, slots=True)
class Services:
    """What a request may use."""

    clock: Clock
    verifier: Verifier
    authoriser: Authoriser
    limiter: Limiter
    commands: Commands
    emitter: Emitter
    reads: Reads
    metrics: Metrics
    status: Status
    streams: Streams
    tenants: Tenants
