"""The services that routes use."""

from dataclasses import dataclass

from api.commands.emit import Emitter
from api.commands.submit import Commands
from api.observability.counts_history import CountsHistory
from api.observability.metrics import Metrics
from api.observability.status import Status
from api.queries.partitions import Partitions
from api.queries.tenant import Reads
from api.queries.tenant_list import Tenants
from api.security.in_flight import InFlight
from api.security.opa import Authoriser
from api.security.rate_limits import Limiter
from api.security.refused_budget import RefusedRequests
from api.security.tokens import Verifier
from api.states.streams import StateStreams
from api.streaming.streams import Streams
from api.topic_pages.audit import Audit
from api.topic_pages.dead_letters import DeadLetters
from schemas.clock import Clock
from schemas.formats.settings import HttpFormat
from schemas.http.pages import Pages


@dataclass(frozen=True, slots=True)
class Services:
    """The services of the application.

    Attributes:
        formats: where the formats of reports have their tenants, by the format's name.
    """

    clock: Clock
    verifier: Verifier
    authoriser: Authoriser
    in_flight: InFlight
    limiter: Limiter
    refused: RefusedRequests
    commands: Commands
    emitter: Emitter
    reads: Reads
    metrics: Metrics
    status: Status
    pages: Pages
    streams: Streams
    states: StateStreams
    tenants: Tenants
    audit: Audit
    dead_letters: DeadLetters
    partitions: Partitions
    history: CountsHistory
    formats: dict[str, HttpFormat]
