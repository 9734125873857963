"""Everything that routes use, wired once."""

from dataclasses import dataclass

from api.auth import Verifier
from api.authorise import Authoriser
from api.clock import Clock
from api.commands import Commands
from api.metrics import Metrics
from api.reads import Reads
from api.status import Status


@dataclass(frozen=True, slots=True)
class Services:
    """What a request may use."""

    clock: Clock
    verifier: Verifier
    authoriser: Authoriser
    commands: Commands
    reads: Reads
    metrics: Metrics
    status: Status
