"""The metrics of an API process."""

from typing import Final, get_args

from schemas.domain.state import LABELS
from schemas.formats.report import Skipped
from schemas.metrics.definition import CounterDefinition, GaugeDefinition, HistogramDefinition, Label
from schemas.metrics.labels import BOUND, FORMAT, PARTITION, SEVERITY
from schemas.wire.operation import CommandType

_ROUTE: Final = Label("route", bound="the paths of the API, or `unmatched`")
_METHOD: Final = Label("method", bound="the HTTP methods that the API knows, or `other`")

REQUESTS: Final = CounterDefinition(
    "sleep_api_requests_total",
    "HTTP requests answered, by route, method and status.",
    (_ROUTE, _METHOD, Label("status", bound="HTTP status codes")),
)
REQUEST_SECONDS: Final = HistogramDefinition(
    "sleep_api_request_seconds",
    "Time from a request to the end of its answer, waiting included.",
    (_ROUTE, _METHOD),
    (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
PROBLEMS: Final = CounterDefinition(
    "sleep_api_problems_total",
    "Requests answered with a problem, by its code.",
    (Label("code", bound="the codes of the [errors](errors.md)"),),
)
COMMANDS: Final = CounterDefinition(
    "sleep_api_commands_total",
    "Commands by type and result: done, a refusal's code, accepted, unavailable or outcome_unknown.",
    (
        Label("type", get_args(CommandType)),
        Label("result", bound="`done`, `accepted`, `unavailable`, `outcome_unknown`, or a refusal's code"),
    ),
)
WAITING_CALLERS: Final = GaugeDefinition(
    "sleep_api_waiting_callers", "Callers that wait for an outcome at this moment."
)
STREAMS: Final = GaugeDefinition("sleep_api_streams", "Streams of events that are open at this moment.")
STREAMS_ENDED: Final = CounterDefinition(
    "sleep_api_streams_ended_total",
    "Streams that ended, by reason: left, slow (the client did not read), expired (its token), lost, stopping.",
    (Label("reason", ("left", "slow", "expired", "lost", "stopping")),),
)
REPORTS_SKIPPED: Final = CounterDefinition(
    "sleep_api_reports_skipped_total",
    "Parts of accepted reports that make no event, by format and reason: no_transition, no_tenant (an alert "
    "without its label), truncated (an alert that Alertmanager left out).",
    (FORMAT, Label("reason", get_args(Skipped))),
)
DEPENDENCY_UP: Final = GaugeDefinition(
    "sleep_api_dependency_up",
    "Whether a dependency answered when last asked: 1 or 0.",
    (Label("dependency", ("kafka", "redis", "opa", "jwks", "transitions", "states")),),
    merge="min",
)
POLICY_SECONDS: Final = HistogramDefinition(
    "sleep_api_policy_seconds",
    "Time that the OPA server took for a decision, or until it was given up after a second. Empty with the embedded "
    "policy.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
REDIS_FINDINGS: Final = GaugeDefinition(
    "sleep_api_redis_findings",
    "Findings on how Redis is run, by severity: bad (it refuses writes, or may evict records) or warning.",
    (SEVERITY,),
    merge="max",
)
CONNECTIONS: Final = GaugeDefinition("sleep_api_connections", "HTTP connections that are open at this moment.")
CONNECTIONS_REFUSED: Final = CounterDefinition(
    "sleep_api_connections_refused_total",
    "HTTP connections above a bound, by the bound: client (one address) or process.",
    (BOUND,),
)

# What follows is the same for all API processes of an installation: they ask the same Kafka and the same Redis.
PARTITIONS: Final = GaugeDefinition(
    "sleep_api_partitions", "Partitions of the events topic: the setting SLEEP_PARTITIONS.", merge="max"
)
STANDING_PARTITIONS: Final = GaugeDefinition(
    "sleep_api_standing_partitions",
    "Partitions in which records wait and nothing is applied; above 0 the status is degraded.",
    merge="max",
)
WAITING_RECORDS: Final = GaugeDefinition(
    "sleep_api_waiting_records",
    "Records of the events topic that are not applied yet, by partition. NaN while Kafka or Redis does not answer.",
    (PARTITION,),
    merge="max",
)
TENANTS: Final = GaugeDefinition(
    "sleep_api_tenants",
    "Tenants that have a record, by state, as of the last fold. NaN while Redis does not answer.",
    (Label("state", LABELS),),
    merge="max",
)
OPEN_ENDED_TENANTS: Final = GaugeDefinition(
    "sleep_api_open_ended_tenants",
    "Tenants with a pin, or with a claim that keeps them asleep and does not expire. NaN while Redis does not answer.",
    merge="max",
)
OPEN_ENDED_OLDEST: Final = GaugeDefinition(
    "sleep_api_open_ended_oldest_timestamp_seconds",
    "When the oldest claim began that keeps a tenant asleep and does not expire. NaN without one.",
    merge="min",
)
