"""The bound on the keys and reasons of a tenant's breaker claims: 48 KiB of UTF-8 together.

Each event is folded by the worker and by the reference, which must agree.
"""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic_core import to_json

from schemas.domain.claim import MAX_BREAKER_BYTES, Claim, Claims
from schemas.domain.policy import parse_policy
from schemas.domain.record import Record
from schemas.wire.tenant_view import state_record
from tests.support.events import Document, breaker, cancel, mode, pin, policy, sleep
from tests.support.times import HOUR, MINUTE, T
from tests.unit.worker.compared_tenant import Tenant

WIDE = "\N{BRAIN}"
STATES = ("open", "half_open", "closed", "forced_open")


def text_bytes(record: Record) -> int:
    """Return the size of the keys and reasons of a tenant's breaker claims, in bytes of UTF-8."""
    claims = [claim for claim in record.claims.values() if claim.source == "breaker"]
    return sum(len(claim.key.encode()) + len((claim.reason or "").encode()) for claim in claims)


def wide(state: str, number: int, cause: str | None = None) -> Document:
    """Return the event of a breaker whose key has 1,592 bytes: 30 fit and leave 1,392."""
    return breaker(state, f"{WIDE * 197}{number:03}@{WIDE * 200}", cause=cause)


def full(*, idle: int = 0) -> Tenant:
    """Return a tenant whose claims leave less room than a wide key needs, some of them idle."""
    tenant = Tenant()
    for number in range(idle):
        tenant(wide("closed", number), T + number)
    tenant.begin_with([wide("open", number) for number in range(idle, 30)], T + 100)
    return tenant


def test_a_cause_that_does_not_fit_is_not_kept() -> None:
    """Its claim is; a shorter one that comes later still fits."""
    tenant = full()
    tenant(breaker("half_open", "b@1", cause=WIDE * 256), T + 200)
    tenant(breaker("open", "b@2", cause=WIDE * 256), T + 201)
    assert tenant.codes == []
    tenant(breaker("open", "b@3", cause="c" * 200), T + 202)
    reasons = [tenant.claim("breaker", f"b@{number}")["reason"] for number in (1, 2, 3)]
    assert reasons == [WIDE * 256, None, "c" * 200]
    tenant(breaker("open", "b@1", cause="shorter"), T + 203)
    tenant(breaker("half_open", "b@2", cause=WIDE * 256), T + 204)
    assert tenant.claim("breaker", "b@2")["reason"] == WIDE * 256, "the room that another has left"


def test_a_new_breaker_whose_key_does_not_fit_is_at_the_limit() -> None:
    """Refused where no claim means active; a small one still fits."""
    tenant = full()
    tenant(wide("open", 900), T + 200)
    assert tenant.codes == ["too_many_claims"]
    tenant(breaker("open", "small@1"), T + 201)
    assert tenant.codes == []
    assert "small@1" in tenant.keys


def test_a_new_breaker_that_means_active_is_accepted_and_not_kept() -> None:
    """No event that maps to `active` is refused for size."""
    tenant = full(idle=2)
    before = tenant.known
    tenant(wide("closed", 900), T + 200)
    assert tenant.codes == []
    assert tenant.known == replace(before, clock=T + 200)


def test_it_takes_the_place_of_as_many_idle_claims_as_it_needs() -> None:
    """Those that end first; where all of them are not enough, none goes."""
    tenant = Tenant()
    for number in range(4):
        tenant(breaker("closed", f"{number}{WIDE * 99}@{WIDE * 99}"), T + number)
    tenant.begin_with([wide("open", number) for number in range(28)], T + 100)
    for number, left in ((900, "123"), (901, "3")):
        tenant(wide("open", number), T + 200)
        assert tenant.codes == []
        assert "".join(key[0] for key in tenant.keys if key[0] != WIDE) == left
    tenant(wide("open", 902), T + 200)
    assert tenant.codes == ["too_many_claims"]
    assert tenant.keys[0][0] == "3"


def test_no_event_of_a_known_breaker_and_no_command_is_refused_for_size() -> None:
    """At the bound as below it: what wakes must get through."""
    tenant = full()
    for state in (*STATES, "open", "closed"):
        tenant(wide(state, 29, cause=WIDE * 256), T + 200)
        assert tenant.codes == []
    for command in (
        sleep("op-1", "deep", HOUR, actor=WIDE * 256, reason=WIDE * 256), cancel("c-1", "op-1"),
        policy("p-1", {"floor": "light"}), pin("m-1", "active"), mode("m-2", "active"),
    ):  # fmt: skip
        tenant(command, T + 201)
        assert tenant.codes == []


def test_a_record_of_an_earlier_version_above_the_limit_still_wakes() -> None:
    """Its breakers close, its new ones need room, and a cause is kept only where it fits."""
    tenant = full()
    record = tenant.known
    more: Claims = {
        ("breaker", f"x@{number}"): Claim("breaker", f"x@{number}", None, "open", None, T, T + HOUR, None, WIDE * 256)
        for number in range(100)
    }
    tenant.begin_from(replace(record, claims={**record.claims, **more}))
    before = text_bytes(tenant.known)
    assert before > 2 * MAX_BREAKER_BYTES
    tenant(breaker("open", "new@1"), T + 200)
    assert tenant.codes == ["too_many_claims"]
    tenant(breaker("half_open", "x@1", cause="timeouts"), T + 201)
    assert tenant.claim("breaker", "x@1")["reason"] is None
    for number in range(100):
        tenant(breaker("closed", f"x@{number}", cause=WIDE * 256), T + 202)
        assert tenant.codes == []
    for number in range(30):
        tenant(wide("closed", number), T + 202)
        assert tenant.codes == []
    assert tenant.state == "active"
    assert text_bytes(tenant.known) <= MAX_BREAKER_BYTES
    tenant(breaker("open", "new@1"), T + 203)
    assert tenant.codes == []


_names = st.builds(
    lambda wide, number, length: f"{number}{(WIDE if wide else 'x') * length}@",
    st.booleans(), st.integers(0, 60), st.sampled_from([0, 20, 190]),
)  # fmt: skip
_causes = st.one_of(st.none(), st.sampled_from(["", "timeouts", "x" * 256, WIDE * 256]))


@given(st.lists(st.tuples(_names, st.sampled_from(STATES), _causes), max_size=60), st.integers(1, 62))
def test_whatever_comes_the_bound_holds_and_the_reference_agrees(
    events: list[tuple[str, str, str | None]], before: int
) -> None:
    """New breakers and known ones, in any order, before claims of half the bound or more."""
    tenant = Tenant()
    earlier = [breaker(STATES[number % 2], f"{number}{WIDE * 190}@{WIDE * number}") for number in range(before)]
    tenant.begin_with(earlier, T)
    for number, (name, state, cause) in enumerate(events):
        tenant(breaker(state, name, cause=cause), T + number)
        assert tenant.record is None or text_bytes(tenant.record) <= MAX_BREAKER_BYTES


def test_the_largest_record_stays_below_256_kib() -> None:
    """All claims that there may be, with the texts that make the most of JSON."""
    quotes, tenant = '"' * 256, Tenant()
    rule = {"match": WIDE * 200, "open": "freeze", "half_open": "light", "quorum": 256, "lease_seconds": 2_591_999.999}
    for number in range(32):
        tenant(sleep(f"{number:0128}", "deep", HOUR, actor=WIDE * 256, reason=WIDE * 256), T + 1)
    tenant(mode("m-1", "deep", HOUR, actor=WIDE * 256, reason=WIDE * 256), T + 1)
    tenant(pin("m-2", "light", MINUTE, actor=WIDE * 256, reason=WIDE * 256), T + 1)
    key = MAX_BREAKER_BYTES // 256
    breakers = [
        breaker("half_open", f"{number:03}{quotes[: key - 4]}@", occurred_at=T + 1, cause=None) for number in range(256)
    ]
    tenant.begin_with(breakers, T + 1)
    # The policy's event itself is below 64 KiB only where its JSON is not escaped.
    tenant.begin_from(replace(tenant.known, policy=parse_policy({"breakers": [rule] * 31 + [{"match": "*"}]})))
    record = tenant.known
    assert len(record.claims) == 256 + 34
    assert text_bytes(record) == MAX_BREAKER_BYTES
    size = len(to_json(state_record("t" * 128, 0, record, tenant.terms)))
    assert 200 * 1024 < size < 256 * 1024
