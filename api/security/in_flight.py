"""Limits on concurrent requests: of a subject, of a tenant, and of this process.

A request is in flight from the verification of its token until it is answered, or until its command waits for the log.
Event streams and waiting callers have bounds of their own. Requests that may wake a tenant are counted separately, so
that no other request can block them.

The tenant is that of the token. Only the policy knows whether the caller may act for another tenant.

While its body arrives, a request counts for its subject only. A body may take ten seconds, so a few slow clients would
otherwise use up the places of their tenant or of the process.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Self

from api.errors.problems import ProblemError
from api.security.rate_limits import OPERATOR_SCOPE, Payer, subject_of
from api.security.tokens import Principal

MOST_OF_SUBJECT: Final = 256
MOST_OF_TENANT: Final = 512
"""More than for a subject, so that one subject cannot block the others of its tenant."""
MOST: Final = 4_096
"""For the process. Requests whose bodies still arrive come on top: 64 KiB each, up to 256 of a subject."""
_EVERYBODY: Final = Payer("process", "")
_RETRY_AFTER: Final = {"Retry-After": "1"}


class Slot:
    """A request's places among those in flight, for a block. `release` may be called more than once."""

    def __init__(self, take: Callable[[Payer], tuple[Payer, bool]], counts: Counter[tuple[Payer, bool]]) -> None:
        self._take = take
        self._counts = counts
        self._keys: list[tuple[Payer, bool]] = []
        self._later: list[Payer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def hold(self, payers: Iterable[Payer], later: Iterable[Payer] = ()) -> None:
        """Take a place of these payers now, and of the `later` ones once the body has arrived.

        Raises:
            ProblemError: `too_many_in_flight`.
        """
        self._later = list(later)
        for payer in payers:
            # Places that were taken before a refusal are given back too.
            self._keys.append(self._take(payer))

    def arrived(self) -> None:
        """Take the remaining places: the body has arrived.

        Raises:
            ProblemError: `too_many_in_flight`.
        """
        later, self._later = self._later, []
        self.hold(later)

    def release(self) -> None:
        """Give the places back."""
        for key in self._keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
        self._keys = []


class InFlight:
    """Counts the requests in flight.

    Args:
        of_subject: the limit of a subject.
        of_tenant: the limit of a tenant.
        of_all: the limit of the process.
    """

    def __init__(self, of_subject: int = MOST_OF_SUBJECT, of_tenant: int = MOST_OF_TENANT, of_all: int = MOST) -> None:
        self._most = {"subject": of_subject, "tenant": of_tenant, "process": of_all}
        self._counts: Counter[tuple[Payer, bool]] = Counter()

    def slot(self, principal: Principal, *, may_wake: bool, arriving: bool = False) -> Slot:
        """Hold the places of a request for a block, or until the block releases them.

        Args:
            principal: the sender of the request.
            may_wake: whether the request may wake a tenant.
            arriving: whether a body is still to come; then `Slot.arrived` takes the remaining places.

        Raises:
            ProblemError: `too_many_in_flight`.
        """
        shared = [_EVERYBODY]
        if principal.tenant is not None and OPERATOR_SCOPE not in principal.scopes:
            shared.append(Payer("tenant", principal.tenant))
        slot = Slot(partial(self._take, may_wake=may_wake), self._counts)
        try:
            slot.hold([subject_of(principal)], shared)
            if not arriving:
                slot.arrived()
        except ProblemError:
            slot.release()
            raise
        return slot

    def _take(self, payer: Payer, *, may_wake: bool) -> tuple[Payer, bool]:
        key = payer, may_wake
        if self._counts[key] >= (limit := self._most[payer.kind]):
            whose = {"subject": "your", "tenant": f"tenant {payer.name}'s", "process": "all"}[payer.kind]
            raise ProblemError(
                "too_many_in_flight",
                f"{limit} of {whose} requests are in flight; wait for their answers, then send more",
                headers=_RETRY_AFTER,
            )
        self._counts[key] += 1
        return key
