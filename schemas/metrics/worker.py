"""The metrics of a worker process."""

from typing import Final, get_args

from schemas.formats.report import Skipped
from schemas.metrics.definition import CounterDefinition, GaugeDefinition, HistogramDefinition, Label
from schemas.metrics.labels import BOUND, SEVERITY, TOPIC
from schemas.wire.events import EVENT_MODELS
from schemas.wire.operation import RefusalCode

_TYPE: Final = Label("type", tuple(EVENT_MODELS))

EVENTS: Final = CounterDefinition("sleep_worker_events_total", "Records applied, by type of event.", (_TYPE,))
STATES_PUBLISHED: Final = CounterDefinition("sleep_worker_states_published_total", "Tenants' records published.")
REFUSALS: Final = CounterDefinition(
    "sleep_worker_refusals_total",
    "Events that the fold refused, by code and type of event.",
    (Label("code", get_args(RefusalCode)), _TYPE),
)
DEAD_LETTERS: Final = CounterDefinition(
    "sleep_worker_dead_letters_total",
    "Records set aside, by whose fault it is.",
    (Label("fault", ("ours", "theirs")),),
)
SET_ASIDE: Final = CounterDefinition(
    "sleep_worker_set_aside_total",
    "Records set aside, by code and by the topic that they came from.",
    (
        Label("code", bound="the codes of [dead letters](../runbooks/dead-letters.md)"),
        Label("topic", bound="the events topic, and the topics that `SLEEP_INGRESS` names"),
    ),
)
BATCH_SECONDS: Final = HistogramDefinition(
    "sleep_worker_batch_seconds",
    "Time from taking a batch to answering its callers.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
BATCH_RECORDS: Final = HistogramDefinition(
    "sleep_worker_batch_records", "Records a batch.", buckets=(1, 10, 100, 500, 1_000, 2_000)
)
TIMER_LAG: Final = HistogramDefinition(
    "sleep_worker_timer_lag_seconds",
    "From a timer's due time to its record in the log.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
LANES: Final = GaugeDefinition(
    "sleep_worker_lanes", "Partitions owned, by whether they run.", (Label("state", ("running", "stopped")),)
)
FENCE_REFUSALS: Final = CounterDefinition(
    "sleep_worker_fence_refusals_total",
    "Loads and commits that Redis refused, because its progress was not that of the lane.",
)
ROLLBACKS: Final = CounterDefinition(
    "sleep_worker_rollbacks_total", "Lanes that began behind their last position, because Redis went back."
)
REDIS_FINDINGS: Final = GaugeDefinition(
    "sleep_worker_redis_findings",
    "Findings on how Redis is run, by severity: bad (it refuses writes, or may evict records) or warning.",
    (SEVERITY,),
    merge="max",
)
INGRESS_FORWARDED: Final = CounterDefinition(
    "sleep_worker_ingress_forwarded_total", "Breaker events passed on, by ingress topic.", (TOPIC,)
)
INGRESS_DELAYED: Final = CounterDefinition(
    "sleep_worker_ingress_delayed_total",
    "Breaker events that waited for their tenant's limit, by ingress topic.",
    (TOPIC,),
)
INGRESS_REPLACED: Final = CounterDefinition(
    "sleep_worker_ingress_replaced_total",
    "Waiting breaker events that a later one replaced, by ingress topic.",
    (TOPIC,),
)
INGRESS_SKIPPED: Final = CounterDefinition(
    "sleep_worker_ingress_skipped_total",
    "Parts of messages that make no event, by ingress topic and reason: no_transition, repeat, no_tenant (an "
    "alert without its label), truncated (an alert that Alertmanager left out).",
    (TOPIC, Label("reason", (*get_args(Skipped), "repeat"))),
)
INGRESS_WAITING: Final = GaugeDefinition(
    "sleep_worker_ingress_waiting", "Breaker events that wait for their tenant's limit, by ingress topic.", (TOPIC,)
)
CONNECTIONS: Final = GaugeDefinition("sleep_worker_connections", "HTTP connections to the status page.")
CONNECTIONS_REFUSED: Final = CounterDefinition(
    "sleep_worker_connections_refused_total",
    "HTTP connections above a bound, by the bound: client (one address) or process.",
    (BOUND,),
)
