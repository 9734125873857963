"""What a format returns: the reports of a document, and counts of what is none."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from schemas.domain.state import BreakerState
from schemas.formats.parts import Found, Part
from schemas.wire.events import BreakerEvent

Skipped = Literal["no_transition", "no_tenant", "truncated"]
"""Why a part of a message makes no event.

`no_transition` is no change of a breaker's state, and `no_tenant` an alert without a tenant's label. `truncated` is an
alert that Alertmanager left out.
"""


class Report(NamedTuple):
    """What one breaker reports. Tenant, and what the document does not say, are found afterwards.

    Attributes:
        part: the object of the document in which fields and labels are looked up.
        state: the breaker's state.
        breaker: the breaker's name; None if the document does not have it.
        instance: the part of the instance that the document has.
        occurred_at: when the state was observed, in ms since the epoch; None if the document does not say.
        cause: why, for people; None if the document does not say.
    """

    part: Part
    state: BreakerState
    breaker: Found | None = None
    instance: Found | None = None
    occurred_at: int | None = None
    cause: str | None = None


class Content(NamedTuple):
    """The reports of a document, and how many parts make none, by reason."""

    reports: list[Report]
    skipped: Mapping[Skipped, int]


NO_TRANSITION = Content([], {"no_transition": 1})


class Reading(NamedTuple):
    """The events of a message, and how many parts of the message make none, by reason."""

    events: list[BreakerEvent]
    skipped: Mapping[Skipped, int]
