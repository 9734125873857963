"""The topics of an installation, with the settings that the guarantees of the pipeline depend on. Pure."""

from typing import Final, NamedTuple

from schemas.settings import Settings

DAY_MS: Final = 86_400_000
EVENTS_KEPT_MS: Final = 7 * DAY_MS
"""How long the events topic keeps an event."""
COMPACTION_LAG: Final = "min.compaction.lag.ms"


class Topic(NamedTuple):
    """A topic as the specification fixes it (specification.md#topics)."""

    name: str
    partitions: int
    config: dict[str, str]


def wanted_topics(settings: Settings) -> list[Topic]:
    """Return the topics of an installation."""
    topics, partitions = settings.topics, settings.partitions
    common = {"unclean.leader.election.enable": "false"}
    if settings.replication >= 3:  # noqa: PLR2004 - two of three replicas must have a record before it counts
        common["min.insync.replicas"] = "2"

    def retained(ms: int, **more: str) -> dict[str, str]:
        return {**common, "cleanup.policy": "delete", "retention.ms": str(ms), **more}

    log_time = {"message.timestamp.type": "LogAppendTime"}
    return [
        Topic(topics.events, partitions, retained(EVENTS_KEPT_MS, **log_time)),
        # A rebuild must find the tombstone of a tenant as long as the log holds an earlier event of the tenant.
        Topic(
            topics.states,
            partitions,
            {
                **common,
                "cleanup.policy": "compact",
                "delete.retention.ms": str(9 * DAY_MS),
                # A replay begins with the last state before its range, which may lie anywhere in the log.
                COMPACTION_LAG: str(EVENTS_KEPT_MS),
            },
        ),
        Topic(topics.transitions, partitions, retained(30 * DAY_MS)),
        Topic(topics.breakers, partitions, retained(DAY_MS, **log_time)),
        Topic(topics.deadletter, partitions, retained(30 * DAY_MS)),
    ]
