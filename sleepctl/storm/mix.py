"""The mix of a storm: which tenants, breakers and states its events have. Pure."""

from collections.abc import Iterator
from random import Random
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field, ValidationError

from schemas.domain.document import Document
from schemas.domain.policy import FieldError, InvalidDocumentError, field_errors
from schemas.domain.state import BreakerState

_CLOSED: Final = "closed"
_STATES: Final[dict[BreakerState, int]] = {"open": 2, "half_open": 1, "closed": 7}
_Weight = Annotated[int, Field(ge=0, le=1_000_000)]


class Mix(Document):
    """What a storm sends.

    Attributes:
        prefix: the first part of each tenant's name; a number follows.
        tenants: how many tenants there are.
        breakers: how many breakers each tenant has.
        instances: how many processes report each breaker.
        states: how often each state of a breaker is reported, as weights.
    """

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:@-]{1,64}$")] = "storm-"
    tenants: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    breakers: Annotated[int, Field(ge=1, le=16)] = 2
    instances: Annotated[int, Field(ge=1, le=16)] = 2
    states: Annotated[dict[BreakerState, _Weight], Field(min_length=1)] = Field(default_factory=lambda: dict(_STATES))


def parse_mix(document: object) -> Mix:
    """Return a mix; absent fields take the built-in values.

    Raises:
        InvalidDocumentError: naming each wrong field.
    """
    try:
        mix = Mix.model_validate(document)
    except ValidationError as error:
        raise InvalidDocumentError(field_errors(error, Mix)) from None
    if not any(mix.states.values()):
        raise InvalidDocumentError([FieldError("states", "one weight must be above 0")])
    return mix


class Reported(NamedTuple):
    """A breaker of a tenant, as one process reports it."""

    tenant: str
    breaker: str
    instance: str


class Storm:
    """The events of a storm.

    Args:
        mix: what they have.
        random: chooses; the same seed gives the same events.
    """

    def __init__(self, mix: Mix, random: Random) -> None:
        self._mix = mix
        self._random = random
        self._states = [state for state, weight in mix.states.items() if weight]
        self._weights = [weight for weight in mix.states.values() if weight]
        self._asleep: set[Reported] = set()

    def next(self) -> tuple[Reported, dict[str, Any]]:
        """Return the next event: who reports, and the data."""
        mix, number = self._mix, self._random.randrange
        who = Reported(f"{mix.prefix}{number(mix.tenants)}", f"b{number(mix.breakers)}", f"i{number(mix.instances)}")
        [state] = self._random.choices(self._states, self._weights)
        if state == _CLOSED:
            self._asleep.discard(who)
        else:
            self._asleep.add(who)
        return who, _data(who, state)

    def calm(self) -> Iterator[tuple[Reported, dict[str, Any]]]:
        """Yield an event that closes each breaker that was last reported in another state."""
        for who in sorted(self._asleep):
            yield who, _data(who, _CLOSED)


def _data(who: Reported, state: str) -> dict[str, Any]:
    return {
        "breaker": who.breaker,
        "instance": who.instance,
        "state": state,
        "cause": "sleepctl storm",
        "library": "sleepctl",
    }
