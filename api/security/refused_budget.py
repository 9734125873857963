"""The budget of refused requests: a subject with too many of them is refused before the body is read.

Redis holds the count for all processes. Only a refused request updates it. The process then learns whether the
subject's budget is used up, and remembers that until more is left. So other requests cost no round trip.
"""

from collections import OrderedDict
from typing import Final

import structlog
from fastapi import Request, Response

from api.adapters.dependency import UnavailableError
from api.errors.problems import ProblemError, on_problem
from api.security.rate_limits import Limiter, Payer, QuotaStatus, Verdict, subject_of
from api.security.tokens import Principal
from schemas.clock import Clock

REMEMBERED_SUBJECTS: Final = 4_096
PRINCIPAL: Final = "sleep.principal"
"""Key of the scope that holds the principal of an authenticated request."""
_REFUSED: Final = range(400, 500)
# 401 has no subject. 429 was refused because of earlier requests.
_NOT_COUNTED: Final = frozenset({401, 429})

log = structlog.get_logger(__name__)


class RefusedRequests:
    """Counts the refused requests of each subject, and remembers which budgets are used up.

    Args:
        limiter: counts requests.
        monotonic: a clock that nobody sets, in milliseconds.
    """

    def __init__(self, limiter: Limiter, monotonic: Clock) -> None:
        self._limiter = limiter
        self._monotonic = monotonic
        # The end (ms) and the verdict of each; the newest entry is last.
        self._exhausted: OrderedDict[Payer, tuple[int, Verdict]] = OrderedDict()

    def exhausted(self, principal: Principal) -> Verdict | None:
        """Return the verdict, with the remaining seconds, if the subject's budget is used up; else None."""
        if not self._exhausted:
            return None
        payer = subject_of(principal)
        until, verdict = self._exhausted.get(payer, (0, None))
        if verdict is None or verdict.violated is None:
            return None
        seconds_left = -(-(until - self._monotonic()) // 1000)
        if seconds_left <= 0:
            del self._exhausted[payer]
            return None
        violated = verdict.violated._replace(reset_seconds=seconds_left)
        statuses = [violated if status.quota == violated.quota else status for status in verdict.statuses]
        return Verdict(tuple(statuses), violated)

    async def count(self, principal: Principal) -> None:
        """Count a refused request. If Redis does not answer, the caller still gets the refusal."""
        payer = subject_of(principal)
        try:
            verdict = await self._limiter.spend(payer, "refused", 1)
        except UnavailableError as error:
            log.warning("refusal_not_counted", subject=principal.subject, finding=error.finding)
            return
        violated = verdict.violated or _used_up(verdict)
        if violated is None:
            return
        self._exhausted[payer] = (
            self._monotonic() + violated.reset_seconds * 1000,
            verdict._replace(violated=violated),
        )
        self._exhausted.move_to_end(payer)
        if len(self._exhausted) > REMEMBERED_SUBJECTS:
            self._exhausted.popitem(last=False)


def _used_up(verdict: Verdict) -> QuotaStatus | None:
    """Return the quota with nothing left; of several, the one with the longest wait."""
    empty = [status for status in verdict.statuses if status.remaining == 0]
    return max(empty, key=lambda status: status.reset_seconds, default=None)


def too_many_refused(verdict: Verdict) -> ProblemError:
    """Return the problem of a request whose subject has too many refused requests."""
    assert verdict.violated is not None  # noqa: S101 - `exhausted` returns no other
    (name, amount, window), _, seconds = verdict.violated
    return ProblemError(
        "quota_exceeded",
        f"{amount} of your requests were refused within {window} s; mend what you send, and try again in {seconds} s. "
        "What wakes a tenant still passes",
        headers={"Retry-After": str(seconds)},
        more={"violated-policies": [name]},
    )


async def answer_problem(request: Request, error: Exception) -> Response:
    """Answer any error, and count it if it refuses an authenticated request."""
    response = await on_problem(request, error)
    principal: Principal | None = request.scope.get(PRINCIPAL)
    if principal is not None and response.status_code in _REFUSED and response.status_code not in _NOT_COUNTED:
        await request.app.state.services.refused.count(principal)
    return response
