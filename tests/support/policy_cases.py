"""What the shipped policy must answer, as one table; the embedded engine and a real OPA are both held to it."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_args

from schemas.budgets import Action

ACTIONS: Final = get_args(Action)
OPERATOR: Final = ("sleep:operate",)
BASE: Final[dict[str, Any]] = {
    "action": "sleep",
    "tenant": "acme",
    "token_tenant": "acme",
    "subject": "ops@acme",
    "scopes": ["sleep:write"],
    "target_state": "deep",
    "ttl_seconds": 600,
    "override": False,
}
# Who answers the telephone may sleep their own tenant lightly, for ten minutes; a lead deeper and longer.
BOUNDED: Final[dict[str, Any]] = {
    "on-call": {"actions": ["sleep", "cognitive_sleep"], "tenants": "own", "deepest": "light", "max_ttl_seconds": 600},
    "lead": {"actions": ["sleep"], "tenants": "own", "deepest": "deep", "max_ttl_seconds": 3600},
    "boss": {"actions": ["cognitive_sleep_override"], "tenants": "any", "deepest": "freeze", "max_ttl_seconds": 0.5},
}
WHOLE: Final[dict[str, Any]] = {"actions": ["sleep"], "tenants": "own", "deepest": "deep", "max_ttl_seconds": None}
WRITE: Final = "this needs the scope sleep:operate or sleep:write"
NO_ROLE: Final = "no role allows this action"
OVERRIDE: Final = "override needs the action cognitive_sleep_override"
LIGHT: Final = "on-call allows no state deeper than light"
SHORT: Final = "on-call needs ttl_seconds of at most 600"


class Case(NamedTuple):
    """An input, the roles that it meets (None: the shipped ones), and each reason against it; allowed without one."""

    name: str
    input: dict[str, Any]
    roles: Any
    reasons: list[str]

    @property
    def decision(self) -> dict[str, Any]:
        """What the policy must answer."""
        return {"allow": not self.reasons, "reasons": self.reasons}


def _case(name: str, *reasons: str, roles: Any = None, without: str = "", **changes: Any) -> Case:  # noqa: ANN401
    asked = {key: value for key, value in (BASE | changes).items() if key != without}
    return Case(name, asked, roles, list(reasons))


def _wrong(field: str) -> str:
    return f"the input's {field} is missing or of a wrong type"


def _contract() -> Iterator[Case]:
    """Yield each scope with each action, for the own tenant and for another: the table of the contract."""
    own = {
        "sleep:read": {"read", "audit"},
        "sleep:write": {"sleep", "cognitive_sleep"},
        "sleep:policy": {"cognitive_sleep_policy"},
        "sleep:override": {"cognitive_sleep_override"},
        "sleep:emit": {"emit"},
    }
    anywhere = {"sleep:read-any": {"read", "watch"}, "sleep:emit-any": {"emit"}, "sleep:operate": set(ACTIONS)}
    for tenant, table in (("acme", own | anywhere), ("globex", anywhere)):
        for action in ACTIONS:
            enough = sorted(scope for scope, actions in table.items() if action in actions)
            for scope in own | anywhere:
                reasons = [] if scope in enough else [f"this needs the scope {' or '.join(enough)}"]
                yield _case(f"{scope} {action} {tenant}", *reasons, scopes=[scope], action=action, tenant=tenant)


def _scopes() -> Iterator[Case]:
    yield _case("no scopes", WRITE, scopes=[])
    for scope in (
        *("sleep:writex", "sleep:writ", "xsleep:write", "SLEEP:WRITE", "Sleep:Write", " sleep:write", "sleep:write "),
        *(
            "sleep:*",
            "*",
            "",
            "sleep:",
            "sleep",
            "write",
            "sleep:write,sleep:operate",
            "sleep:write\t",
            "sleep:write\n",
        ),
        *(
            'sleep:write"',
            "`sleep:write`",
            "'sleep:write'",
            '"sleep:write"',
            "sleep:write\\",
            "sleep:wr\\u0069te",
            "sleep:write\0",
            "sleep:operate\0x",
        ),
        *("sleep:wrıte", "sleep:wr\u0456te", "\u202esleep:write", "ｓｌｅｅｐ:write", "\N{SNOWMAN}", "true", "null"),  # noqa: RUF001
    ):
        yield _case(f"lookalike {scope!r}", WRITE, scopes=[scope])
    yield _case("one of many scopes", scopes=["", "x", "sleep:read", "sleep:write", "sleep:write"])
    yield _case("a thousand scopes", scopes=[f"scope-{number}" for number in range(1_000)] + ["sleep:write"])


def _actions() -> Iterator[Case]:
    for action in (
        "",
        "unknown",
        "READ",
        "sleep:write",
        're"ad',
        "re\\ad",
        "read\0",
        "read\n",
        "l\N{SNOWMAN}st",
        "list ",
    ):
        yield _case(f"action {action!r}", NO_ROLE, action=action, scopes=list(OPERATOR))


def _tenants() -> Iterator[Case]:
    yield _case("nobody owns the absent tenant", "this needs the scope sleep:operate", tenant=None, token_tenant=None)
    yield _case("an operator lists no tenant", tenant=None, token_tenant=None, action="list", scopes=list(OPERATOR))
    for scope in ("sleep:read-any", "sleep:operate"):
        yield _case(f"{scope} watches all tenants", tenant=None, token_tenant=None, action="watch", scopes=[scope])
    needed = "this needs the scope sleep:operate or sleep:read-any"
    yield _case("a reader of its own tenant watches none", needed, tenant=None, action="watch", scopes=["sleep:read"])
    for action in ("audit", "inspect"):
        yield _case(f"an operator does {action} of all", tenant=None, action=action, scopes=list(OPERATOR))
        for scope in ("sleep:read", "sleep:read-any"):
            yield _case(
                f"{scope} does no {action} of all",
                "this needs the scope sleep:operate",
                tenant=None,
                action=action,
                scopes=[scope],
            )
    yield _case("a token without a tenant", "this needs the scope sleep:operate", token_tenant=None)
    for tenant in ("", "ACME", "acme ", 'ac"me', "ac\\me", "acme\0", "a\ncme", "{}", "\N{SNOWMAN}", "x" * 100_000):
        yield _case(f"tenant {tenant[:9]!r}", "this needs the scope sleep:operate", tenant=tenant)
    yield _case("a quoted tenant that is the own", tenant='a"\\\n{}', token_tenant='a"\\\n{}')
    yield _case("an empty tenant that is the own", tenant="", token_tenant="")


def _subjects() -> Iterator[Case]:
    for subject in ("", '"', "\\", '"}', "\N{SNOWMAN}\U0001f600", "\0", "\n\t\x7f", "${7*7}", "x" * 100_000):
        yield _case(f"subject {subject[:9]!r}", subject=subject)
        yield _case(f"subject {subject[:9]!r} refused", WRITE, subject=subject, scopes=['a"b', subject])


def _override() -> Iterator[Case]:
    for action in ACTIONS:
        pin = action == "cognitive_sleep_override"
        reasons = () if pin else (OVERRIDE,)
        yield _case(f"override of {action}", *reasons, action=action, scopes=list(OPERATOR), override=True)
    yield _case("a pin by its scope", action="cognitive_sleep_override", scopes=["sleep:override"], override=True)
    needed = "this needs the scope sleep:operate or sleep:override"
    yield _case("a pin by another scope", needed, action="cognitive_sleep_override", override=True)
    yield _case("override of no action", NO_ROLE, OVERRIDE, action="unknown", override=True)


def _unbounded() -> Iterator[Case]:
    small: tuple[float | None, ...] = (None, 0, -1, 0.001, 1e-300, 2_592_000, 2**31)
    large: tuple[float | None, ...] = (2**53, 2**63, 2**64 + 1, 10**30, -(10**30), 1e300, 10**400)
    for ttl in small + large:
        yield _case(f"shipped ttl {ttl!r:.24}", ttl_seconds=ttl)
    for state in (None, "active", "light", "deep", "freeze"):
        yield _case(f"shipped state {state}", target_state=state)


def _bounded() -> Iterator[Case]:
    def of(name: str, *reasons: str, **changes: Any) -> Case:  # noqa: ANN401
        return _case(f"bounded: {name}", *reasons, roles=BOUNDED, **{"scopes": ["on-call"], **changes})

    within: tuple[float, ...] = (600, 599.999, 600.0, 1, 0, -5, -(10**30), -(10**400))
    beyond: tuple[float | None, ...] = (None, 600.001, 601, 2**31, 2**63, 2**64, 2**64 + 1, 10**30, 1e300, 10**400)
    for ttl in within:
        yield of(f"light for {ttl!r:.24}", target_state="light", ttl_seconds=ttl)
    for longer in beyond:
        yield of(f"light for {longer!r:.24}", SHORT, target_state="light", ttl_seconds=longer)
    yield of("too deep", LIGHT)
    yield of("too deep and too long", LIGHT, SHORT, ttl_seconds=601)
    yield of("too deep and without end", LIGHT, SHORT, ttl_seconds=None)
    for state in ("active", None):
        yield of(f"{state} without end", action="cognitive_sleep", target_state=state, ttl_seconds=None)
    yield of("awake for too long", SHORT, action="cognitive_sleep", target_state="active", ttl_seconds=601)
    yield of("a lead is deeper", scopes=["lead"], ttl_seconds=3600)
    yield of("a lead not so deep", "lead allows no state deeper than deep", scopes=["lead"], target_state="freeze")
    yield of("the better of two", scopes=["on-call", "lead"], ttl_seconds=3600)
    yield of("not half by each", LIGHT, scopes=["on-call", "lead"], action="cognitive_sleep")
    longest = "lead needs ttl_seconds of at most 3600"
    yield of("neither of two", longest, LIGHT, SHORT, scopes=["lead", "on-call"], ttl_seconds=3601)
    yield of("of another", f"{NO_ROLE} for another tenant", tenant="globex")
    yield of("a shipped scope means nothing", "this needs the scope lead or on-call", scopes=["sleep:write"])
    yield of("an action of nobody", NO_ROLE, action="read")
    pin = {"action": "cognitive_sleep_override", "override": True, "tenant": "globex", "scopes": ["boss"]}
    yield of("a pin for half a second", **pin, ttl_seconds=0.5)
    yield of("a pin for longer", "boss needs ttl_seconds of at most 0.5", **pin, ttl_seconds=0.501)
    yield of("a pin without end", "boss needs ttl_seconds of at most 0.5", **pin, ttl_seconds=None)
    yield of("an unpin", **pin | {"target_state": "active"}, ttl_seconds=None)


def _broken_roles() -> Iterator[Case]:
    yield _case("a whole role", roles={"own": WHOLE}, scopes=["own"])
    for key in WHOLE:
        role = {name: value for name, value in WHOLE.items() if name != key}
        yield _case(f"a role without {key}", NO_ROLE, roles={"own": role}, scopes=["own"])
    wrong: dict[str, tuple[Any, ...]] = {
        "actions": (None, "sleep", {"sleep": True}, 7, [], [["sleep"]], [None]),
        "tenants": (None, True, "all", "ANY", ["any"], 1),
        "deepest": (None, "coma", "", 3, ["deep"], True),
        "max_ttl_seconds": ("600", True, [600], {}),
    }
    for key, values in wrong.items():
        for value in values:
            role = WHOLE | {key: value}
            yield _case(f"a role with {key} {value!r}", NO_ROLE, roles={"own": role}, scopes=["own"])
    no_roles: tuple[Any, ...] = (None, [], "sleep", 7, True, {})
    for no_role in no_roles:
        yield _case(f"a role that is {no_role!r}", NO_ROLE, roles={"own": no_role}, scopes=["own"])
    no_tables: tuple[Any, ...] = ([], "sleep:write", 7, True, {}, [WHOLE])
    for roles in no_tables:
        yield _case(f"roles that are {str(roles)[:12]}", NO_ROLE, roles=roles, scopes=["own", "0"])
    mixed = {"own": WHOLE, "broken": {"actions": ["sleep"]}}
    yield _case("a broken role harms no other", roles=mixed, scopes=["broken", "own"])


def _broken_inputs() -> Iterator[Case]:
    for field in BASE:
        yield _case(f"without {field}", _wrong(field), without=field)
    wrong: dict[str, tuple[Any, ...]] = {
        "action": (None, 7, True, ["sleep"], {}),
        "tenant": (7, True, ["acme"], {}),
        "token_tenant": (7, False, ["acme"], {}),
        "subject": (None, 7, ["ops"]),
        "scopes": (None, "sleep:write", {"sleep:write": True}, ["sleep:write", 7], [["sleep:write"]], [None]),
        "target_state": ("", "coma", "DEEP", 2, ["deep"], True, "deep\0"),
        "ttl_seconds": ("600", "", True, False, [600], {}),
        "override": (None, 0, 1, "false", "true", []),
    }
    for field, values in wrong.items():
        for value in values:
            yield _case(f"{field} {value!r}", _wrong(field), **{field: value})
    yield Case("an empty input", {}, None, sorted(map(_wrong, BASE)))
    yield _case("a field too many", extra={"allow": True}, allow=True)


CASES: Final = tuple(
    case
    for group in (
        *(_contract, _scopes, _actions, _tenants, _subjects, _override),
        *(_unbounded, _bounded, _broken_roles, _broken_inputs),
    )
    for case in group()
)
