"""Why a tenant has its state, in words: one line for each thing that a person can change."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sleepctl.ui.output import clock, kind_and_key

_OWNERS: Final = {
    "policy": "the ceiling of the tenant's policy",
    "rules": "the ceiling of the rules",
    "both": "the same ceiling of policy and rules",
}
NEVER_SEEN: Final = "never seen: no event of the tenant was applied, or its record has retired"


def why(tenant: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield label and line of the decision, of each quorum that is not met, and of each note on the rules.

    An older API has none of these fields; then there are no lines.
    """
    decision = tenant.get("decided_by")
    if decision is not None:
        yield "decided by", _decided_by(decision, tenant["decided"])
        for quorum in decision["unmet_quorums"]:
            yield (
                "quorum not met",
                f"{quorum['breaker']}: {quorum['have']} of {quorum['need']} instances ask for {quorum['state']}",
            )
    for note in tenant.get("notes", ()):
        yield "note", note


def _decided_by(decision: Mapping[str, Any], decided: str) -> str:  # noqa: PLR0911 - a return for each kind
    claim = decision["claim"]
    asked = f"{_claim(claim)} asks for {decision['asked']}" if claim is not None else "no claim asks for sleep"
    without = decision["without"]
    match decision["kind"]:
        case "nothing":
            return (
                "nothing: no breaker has its quorum"
                if decision["unmet_quorums"]
                else "nothing: no claim asks for sleep"
            )
        case "claim":
            still = "still " if without == decided else ""
            return f"{_claim(claim)}; without it {still}{without}"
        case "pin":
            return f"the pin; without it {without}"
        case "floor":
            return f"the policy's floor {decision['floor']}; {asked}"
        case "ceiling":
            ceiling = decision["ceiling"]
            floor = f"the floor asks for {decision['floor']}, {asked}" if decision["floor"] is not None else asked
            return f"{_OWNERS[ceiling['of']]}, {ceiling['state']}; without it {without}: {floor}"
        case "hold":
            return f"the minimum sleep, which holds {decided} until {clock(decision['held_until'])}; then {without}"
        case other:
            return f"{other}; without it {without}"


def _claim(claim: Mapping[str, Any]) -> str:
    """Return the claim; a quorum with its numbers."""
    quorum = claim["quorum"]
    if quorum is None:
        return f"the {kind_and_key(claim['source'], claim['key'])}"
    return f"the breaker {quorum['breaker']} ({quorum['have']} instances, quorum {quorum['need']})"
