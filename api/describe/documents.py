"""The documents of the API, for OpenAPI alone: answers come from `schemas`, not from these models."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.claim import CauseKind, Source
from schemas.operation import CommandType, Status
from schemas.schedule import Parameters
from schemas.state import BreakerState, StateName

Milliseconds = Annotated[int, Field(description="Milliseconds since the epoch.")]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OperationDocument(_Document):
    """A command and its outcome; `state` and `previous_state` are null until the log has answered."""

    operation_id: str
    tenant_id: str
    type: CommandType
    status: Status
    target_state: StateName | None
    created_at: Milliseconds
    expires_at: Milliseconds | None
    finished_at: Milliseconds | None
    code: str | None
    state: StateName | None
    previous_state: StateName | None
    position: str | None
    actor: str
    reason: str | None
    trace_id: str | None


class OperationList(_Document):
    """The operations that run now."""

    operations: list[OperationDocument]


class CauseDocument(_Document):
    """What made the last decision change."""

    kind: CauseKind
    key: str | None


class ClaimDocument(_Document):
    """One reason for sleep."""

    source: Source
    key: str
    state: StateName
    breaker_state: BreakerState | None
    occurred_at: Milliseconds | None
    since: Milliseconds
    expires_at: Milliseconds | None
    actor: str | None
    reason: str | None


class ForecastDocument(_Document):
    """A change of state that will happen if nothing else does."""

    at: Milliseconds
    state: StateName


class TenantDocument(_Document):
    """A tenant as it is now."""

    tenant_id: str
    state: StateName
    decided: StateName
    enforced: bool
    since: Milliseconds
    cause: CauseDocument | None
    claims: list[ClaimDocument]
    parameters: Parameters
    target_parameters: Parameters
    forecast: list[ForecastDocument]
    policy_version: int
    now: Milliseconds
    position: str | None


class PreviewDocument(_Document):
    """A tenant as it is now, and as it would be under the policy that was sent."""

    before: TenantDocument
    after: TenantDocument


class TenantEntry(_Document):
    """A tenant in a list."""

    tenant_id: str
    state: StateName
    since: Milliseconds
    cause: CauseDocument | None
    forecast: list[ForecastDocument]


class CountsDocument(_Document):
    """How many tenants are in each state, as they were last folded."""

    active: int
    light: int
    deep: int
    freeze: int


class TenantPage(_Document):
    """Some of the tenants; `cursor` finds the next ones, null at the end."""

    tenants: list[TenantEntry]
    counts: CountsDocument
    open_ended: Annotated[int, Field(description="Tenants with a pin or a sleep without an end.")]
    cursor: str | None
    now: Milliseconds


class AcceptedEvents(_Document):
    """How many events are in the log now."""

    accepted: int


class PolicyAnswer(_Document):
    """The policy that holds for a tenant; `default` where it has none of its own."""

    policy: dict[str, Any]
    policy_version: int
    default: bool


class FieldProblem(_Document):
    """A field that is wrong, and why."""

    field: str
    reason: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[FieldProblem] = []
