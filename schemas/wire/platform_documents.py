"""Models of the answers about many tenants, and about the platform: lists, pages of topics, permissions, counts.

They are built and checked as those of `schemas.wire.documents`.
"""

from typing import Annotated

from pydantic import Field

from schemas.budgets import Action
from schemas.domain.document import Document
from schemas.domain.state import StateName
from schemas.domain.values import (
    POSITION_PATTERN,
    TenantId,
)
from schemas.wire.documents import CauseDocument, Count, ForecastEntry, Milliseconds, TransitionRecord


class TenantEntry(Document):
    """A tenant in a list."""

    tenant_id: TenantId
    state: StateName
    since: Milliseconds
    cause: CauseDocument | None
    forecast: tuple[ForecastEntry, ...]
    policy_version: Annotated[Count, Field(description="0 if the tenant has never had a policy of its own")]


class CountsDocument(Document):
    """How many tenants are in each state, as they were last folded."""

    active: Count
    light: Count
    deep: Count
    freeze: Count


class TenantPage(Document):
    """Some of the tenants."""

    tenants: tuple[TenantEntry, ...]
    counts: CountsDocument
    open_ended: Annotated[Count, Field(description="tenants with a pin or a sleep without an end")]
    cursor: Annotated[str | None, Field(description="send it to get the next page; null at the end")]
    now: Milliseconds


class AuditPage(Document):
    """Some rows of the audit, the newest first."""

    rows: tuple[TransitionRecord, ...]
    cursor: Annotated[
        str | None, Field(description="send it to get the next page, also after an empty one; null at the end")
    ]
    searched_until: Annotated[
        Milliseconds | None,
        Field(description="all rows that were written since were looked at; null if all that are kept were"),
    ]
    unreadable: Annotated[Count, Field(description="records that were passed over because they are no rows")]


class DeadLetterDocument(Document):
    """A record that could not be used, or a flood of them, without its content."""

    place: Annotated[
        str, Field(strict=True, pattern=POSITION_PATTERN, description="partition and offset in the dead-letter topic")
    ]
    written_at: Annotated[
        Milliseconds, Field(description="when it became a dead letter, by Kafka's clock or the worker's")
    ]
    code: str
    message: Annotated[str, Field(description="why it could not be used, at most 1,024 characters")]
    topic: Annotated[str, Field(description="the topic that it came from")]
    position: Annotated[
        str, Field(strict=True, pattern=POSITION_PATTERN, description="partition and offset in that topic")
    ]
    at: Annotated[Milliseconds, Field(description="the timestamp that it had there; -1 if that is unknown")]
    key: Annotated[str | None, Field(description="as text, at most 256 characters")]
    size: Annotated[Count, Field(description="bytes of the value")]
    records: Annotated[Count, Field(description="how many records it stands for: several in a flood")]
    redrive: Annotated[str, Field(description="the command that puts it back, for the operator's terminal")]


class DeadLetterPage(Document):
    """Some dead letters, the newest first."""

    dead_letters: tuple[DeadLetterDocument, ...]
    cursor: Annotated[
        str | None, Field(description="send it to get the next page, also after an empty one; null at the end")
    ]
    searched_until: Annotated[
        Milliseconds | None,
        Field(description="all that were written since were looked at; null if all that are kept were"),
    ]
    unreadable: Annotated[Count, Field(description="records that were passed over because they are no dead letters")]


class PermissionDocument(Document):
    """Whether the policy allows an action. Null: there is no such request."""

    action: Action
    own_tenant: Annotated[bool | None, Field(description="for the token's tenant; false if the token has none")]
    any_tenant: Annotated[bool | None, Field(description="for another tenant that the policy knows nothing about")]
    platform: Annotated[bool | None, Field(description="for the platform, as a request about no single tenant")]


class PermissionList(Document):
    """What the policy allows a token. A depth or a TTL may still be refused."""

    subject: str
    tenant_id: Annotated[TenantId | None, Field(description="the token's tenant")]
    expires_at: Annotated[Milliseconds, Field(description="the end of the token")]
    permissions: tuple[PermissionDocument, ...]


class OwnerDocument(Document):
    """The worker that has a partition."""

    member: Annotated[str, Field(description="its id in the consumer group, new with each start")]
    client: Annotated[str, Field(description="the name of its Kafka client")]
    host: Annotated[str, Field(description="its address, as the broker sees it")]


class PartitionDocument(Document):
    """A partition of the events topic, and how far it is applied."""

    partition: Count
    owner: Annotated[OwnerDocument | None, Field(description="null if no worker has it, or if that is unknown")]
    position: Annotated[Count, Field(description="the next offset to apply")]
    end: Annotated[Count, Field(description="the end of the log")]
    lag: Annotated[Count, Field(description="how many records wait")]
    finding: Annotated[str | None, Field(description="what is wrong, for people; null if nothing is")]


class PartitionList(Document):
    """All partitions of the events topic."""

    partitions: tuple[PartitionDocument, ...]
    owners: Annotated[str | None, Field(description="why Kafka does not say who owns the partitions; null if it does")]
    now: Milliseconds


class HistorySample(Document):
    """How many tenants there were in each state at a time."""

    at: Milliseconds
    counts: CountsDocument
    open_ended: Count


class CountsHistory(Document):
    """The numbers of tenants of the last hour, as this process has read them."""

    since: Annotated[Milliseconds | None, Field(description="the time of the first sample; null if there is none yet")]
    every_seconds: Annotated[Count, Field(description="the time between two samples; one that failed is missing")]
    samples: Annotated[tuple[HistorySample, ...], Field(description="the oldest first")]
    now: Milliseconds
