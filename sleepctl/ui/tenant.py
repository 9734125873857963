"""The output of `sleepctl state`: a tenant's state, its reason, and its forecast."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.text import Text

from sleepctl.ui.output import clock, console, kind_and_key, parameters, print_json
from sleepctl.ui.why import NEVER_SEEN, why

_DEPTHS: Final = ("active", "light", "deep", "freeze")
_LABEL: Final = 17


def print_tenant(tenant: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the answer of `GET /api/brain/sleep_mode`, for machines or for people."""
    if as_json:
        print_json(tenant)
        return
    out = console()
    for label, text in _lines(tenant):
        out.print(Text.assemble((f"{f'{label}:' if label else '':<{_LABEL}}", "dim"), text))


def _lines(tenant: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "tenant", tenant["tenant_id"]
    if not tenant.get("seen", True):
        yield "", NEVER_SEEN
    yield "state", f"{tenant['state']} since {clock(tenant['since'])}"
    if not tenant["enforced"]:
        yield "dry run", f"decided {tenant['decided']}, state {tenant['state']}: the policy has `enforce: false`"
    last = ""
    for label, text in why(tenant):
        yield "" if label == last else label, text
        last = label
    cause = tenant["cause"]
    if cause is not None:
        yield "last change", kind_and_key(cause["kind"], cause["key"])
    claims = sorted(tenant["claims"], key=lambda claim: -_DEPTHS.index(claim["state"]))
    sleeping = [claim for claim in claims if claim["state"] != "active" or claim["source"] != "breaker"]
    for label, claim in zip(["claims now"] + [""] * len(sleeping), sleeping, strict=False):
        yield label, _claim(claim)
    awake = len(claims) - len(sleeping)
    if awake or not sleeping:
        several = f"{awake} breakers that ask for no sleep" if awake else "none"
        summary = "1 breaker that asks for no sleep" if awake == 1 else several
        yield "" if sleeping else "claims now", summary
    yield "parameters", parameters(tenant["parameters"], tenant["target_parameters"])
    for label, entry in zip(["will be", *[""] * len(tenant["forecast"])], tenant["forecast"], strict=False):
        yield label, f"{entry['state']} at {clock(entry['at'])}, if nothing else happens"
    yield "policy version", str(tenant["policy_version"])
    yield "now", clock(tenant["now"])
    if tenant["position"] is not None:
        yield "position", tenant["position"]


def _claim(claim: Mapping[str, Any]) -> str:
    """Return a claim: its state, its kind, since when and until when."""
    what = kind_and_key(claim["source"], claim["key"])
    if claim["breaker_state"] is not None:
        what += f" is {claim['breaker_state']}"
    until = "without an end" if claim["expires_at"] is None else f"until {clock(claim['expires_at'])}"
    text = f"{claim['state']:<6}  {what}, since {clock(claim['since'])}, {until}"
    if claim["actor"] is not None:
        text += f", by {claim['actor']}"
    return text if claim["reason"] is None else f"{text}: {claim['reason']}"
