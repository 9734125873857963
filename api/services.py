"""Everything that routes use, wired once."""

from dataclasses import dataclass

from api.clock import Clock
from api.door.auth import Verifier
from api.door.authorise import Authoriser
from api.door.limits import Limiter
from api.operate.metrics import Metrics
from api.operate.status import Status
from api.publish.commands import Commands
from api.publish.emit import Emitter
from api.read.tenants import Tenants
from api.read.views import Reads
from api.stream.streams import Streams


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
