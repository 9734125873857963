"""The limits on the number and size of a tenant's breaker claims: see specification.md#claim-limits."""

from typing import Final

from msgspec.structs import replace

from schemas.domain.claim import MAX_BREAKER_BYTES, MAX_BREAKERS, Claim, ClaimKey, Claims
from schemas.domain.decision import depth_of
from schemas.domain.policy import Terms
from schemas.domain.state import SleepState
from schemas.domain.values import MAX_NAME, MAX_TEXT

# So many claims always fit: their keys are `name@instance`, and a character takes at most four bytes.
_FITTING: Final = MAX_BREAKER_BYTES // (4 * (MAX_NAME + 1 + MAX_NAME + MAX_TEXT))
AT_THE_LIMIT: Final = (
    f"the tenant's breaker claims are at their limit, {MAX_BREAKERS} or {MAX_BREAKER_BYTES // 1024} KiB of keys and "
    "causes, and none that means active can make room"
)


def with_breaker(claims: Claims, claim: Claim, terms: Terms) -> Claims | None:
    """Return the claims with a breaker's claim added or replaced. Its reason is left out if it does not fit.

    At a limit, a new breaker replaces claims that mean active, beginning with those that end first. If the new claim
    means active itself, it is not kept, and the same claims are returned. Return None if there is no room.
    """
    key: ClaimKey = ("breaker", claim.key)
    if len(claims) < _FITTING:
        return {**claims, key: claim}
    known = key in claims
    others = [other for name, other in claims.items() if other.source == "breaker" and name != key]
    count, size = len(others), sum(map(_size, others)) + _bytes(claim.key)
    if not known and not _fits(count, size):
        if depth_of(claim, terms) is SleepState.active:
            return claims
        leaving: set[ClaimKey] = set()
        idle = (other for other in others if depth_of(other, terms) is SleepState.active)
        for other in sorted(idle, key=_end):
            leaving.add(("breaker", other.key))
            count, size = count - 1, size - _size(other)
            if _fits(count, size):
                break
        else:
            return None
        claims = {name: other for name, other in claims.items() if name not in leaving}
    # A record of an earlier version may exceed the limits. Its claims stay until they end.
    if claim.reason is not None and size + _bytes(claim.reason) > MAX_BREAKER_BYTES:
        claim = replace(claim, reason=None)
    return {**claims, key: claim}


def _fits(count: int, size: int) -> bool:
    return count < MAX_BREAKERS and size <= MAX_BREAKER_BYTES


def _end(claim: Claim) -> tuple[bool, int, str]:
    """Return a sort key: the claim that ends first comes first, a claim without expiry last."""
    return claim.expires_at is None, claim.expires_at or 0, claim.key


def _size(claim: Claim) -> int:
    return _bytes(claim.key) + (0 if claim.reason is None else _bytes(claim.reason))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
