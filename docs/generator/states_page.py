"""The page of the states: how a state is decided, what breakers mean, and what each depth changes."""

from typing import Final, get_args

from msgspec.structs import astuple

from docs.generator.markdown import table
from schemas.domain.claim import CauseKind, Source
from schemas.domain.explanation import IGNORE_THE_REST, DecidedBy
from schemas.domain.policy import BUILT_IN_RULES, BreakerRule, BreakerRuleDocument
from schemas.domain.schedule import BUILT_IN_SCHEDULE, PARAMETERS
from schemas.domain.state import LABELS, BreakerState

_SOURCES: Final[dict[Source, tuple[str, str, str]]] = {
    "breaker": ("`name@instance`", "a breaker event", "the breaker closes, or its lease ends"),
    "operation": ("operation id", "`POST /api/util/sleep`", "its TTL (mandatory), or a cancel"),
    "mode": ("`mode`", "`POST /api/brain/sleep_mode`", "mode `active`, or its TTL if it has one"),
    "pin": (
        "`pin`",
        "sleep_mode with `override: true`",
        "its TTL (mandatory), or mode `active` with override",
    ),
}
_CAUSE_MEANINGS: Final[dict[CauseKind, tuple[str, str]]] = {
    "breaker": ("a breaker event", "`name@instance`"),
    "operation": ("a utility sleep", "operation id"),
    "cancel": ("the cancel of a utility sleep", "id of the cancelled operation"),
    "mode": ("a mode set or removed", "`mode`"),
    "pin": ("a pin set or removed", "`pin`"),
    "policy": ("another policy of the tenant", "`policy`"),
    "rules": ("other rules of the platform", "null"),
    "expired": ("a claim's lease or TTL ended", "key of the deepest claim that ended"),
    "pin_ended": ("a pin's TTL ended", "`pin`"),
    "hold_ended": ("the minimum sleep ended", "null"),
}
_KINDS: Final[dict[DecidedBy, str]] = {
    "nothing": "no claim asks for sleep, or no breaker has its quorum; `unmet_quorums` counts the instances",
    "claim": "the deepest claim; of several, the first by source and key; with its quorum, if more than one must agree",
    "pin": "the pin",
    "floor": "the policy's floor, which is deeper than what the claims ask for",
    "ceiling": "a ceiling, which is shallower than what the claims ask for; `of` names its owner",
    "hold": "the minimum sleep, until `held_until`",
}
_STATES_INTRO: Final = """# States

For authors of policies, and for anyone who asks why a tenant sleeps. This page says how a state is decided.

A tenant is `active`, `light`, `deep` or `freeze`, from awake to deepest. Any state may follow any other.
"""
_DECISION: Final = """## How a state is decided

1. A pin decides alone until it ends. Steps 2 to 5 are skipped then.
2. The deepest claim decides. A breaker counts as the *k*-th deepest of its instances, *k* being the rule's `quorum`.
   With fewer than *k* instances it counts as `active`.
3. The policy's floor raises the decision.
4. The ceiling lowers it: the lower one of the policy's and the rules' ceiling.
5. With `min_sleep_seconds`, a shallower decision is delayed until the present one is that old.
6. With `enforce: false` the decision is published as `decided`, and `state` stays `active`. That is a dry run.

`sleepctl state TENANT` names the last step that made a difference, and what would be decided without it. So does
`decided_by` in `GET /api/brain/sleep_mode`, in both halves of a policy preview, and in the event `state` of
`GET /api/brain/sleep_events`:
"""
_HOLDS: Final = """## Holds

A hold never adds sleep. So there is no hold:

- if `state` differs from `decided` (a dry run);
- if a ceiling is below `decided`;
- during a pin, or if the record's `cause` is of kind `pin` or `pin_ended`;
- with `enforce: false`.
"""
_RENEWALS: Final = """An event in the claim's present state is a renewal: it keeps `since`. A renewed mode or pin
takes the new `actor` and `reason` together. If the new command has no reason, the claim has none. A renewed breaker
claim keeps its `reason`.
"""
_UNMATCHED: Final = f"""The built-in rule applies to a breaker that no rule of the policy matches, so such a breaker
still freezes the tenant. With `"breakers": []` it applies to every breaker. To ignore the breakers that no other rule
matches, end the list with this rule:

```json
{IGNORE_THE_REST}
```

`notes` in the answers of the API names breakers to which the built-in rule applies. `decided_by` lists them as
`unmatched_breakers`. `sleepctl state`, `sleepctl rules apply` and `sleepctl rules show` print the note.
"""
_BREAKERS_INTRO: Final = """## What a breaker's state means

The first rule of the policy that matches the breaker's name gives the depths of `open` and `half_open`. The other
breaker states always mean `active`, except `forced_open`, which means the same as `open`. The built-in rule:
"""


def states_page() -> str:
    """Return the page of the states: what breakers mean, what claims there are, what each depth changes."""
    rule = BUILT_IN_RULES.policy.rule_of("any")
    arrows = "".join(f"    {state} --> {LABELS[rule.means[state]]}\n" for state in get_args(BreakerState))
    depths = "".join(f"    {label}([{label}])\n" for label in LABELS)
    shifts = "".join(
        f"    {shallow} --> {deep}: deeper claim, pin, floor\n    {deep} --> {shallow}: claim or pin ended, ceiling\n"
        for place, shallow in enumerate(LABELS)
        for deep in LABELS[place + 1 :]
    )
    means = [(f"`{state}`", _from_rule(state), f"`{LABELS[rule.means[state]]}`") for state in get_args(BreakerState)]
    parameters = [
        (f"`{label}`", *(f"{value:g}" for value in astuple(values_)))
        for label, values_ in zip(LABELS, BUILT_IN_SCHEDULE, strict=True)
    ]
    parts = (
        _STATES_INTRO,
        f"```mermaid\nstateDiagram-v2\n    [*] --> active\n{shifts}```\n",
        _DECISION,
        table(("`kind`", "what decided"), ((f"`{kind}`", _KINDS[kind]) for kind in get_args(DecidedBy))),
        _HOLDS,
        _BREAKERS_INTRO,
        f"```mermaid\nflowchart LR\n{depths}{arrows}```\n",
        table(("breaker state", "depth", "built in"), means),
        _UNMATCHED,
        "## Claims\n",
        table(("source", "key", "set by", "ends"), ((f"`{name}`", *_SOURCES[name]) for name in get_args(Source))),
        _RENEWALS,
        "## Causes of a transition\n",
        table(
            ("kind", "what happened", "key"), ((f"`{kind}`", *_CAUSE_MEANINGS[kind]) for kind in get_args(CauseKind))
        ),
        "## Parameters\n\nThis is the built-in schedule. A policy or the rules may set another.\n",
        "[What the parameters mean](../explanation/parameters.md).\n",
        table(("", *PARAMETERS), parameters),
    )
    return "\n".join(parts)


def _from_rule(state: BreakerState) -> str:
    """Tell which field of a rule gives this breaker state its depth, by trying."""
    probe = BreakerRuleDocument(match="*", open="freeze", half_open="deep")
    return {"freeze": "the rule's `open`", "deep": "the rule's `half_open`", "active": "`active`"}[
        LABELS[BreakerRule.of(probe).means[state]]
    ]
