"""The compact layout in which Redis holds a record."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from msgspec.structs import replace
from pydantic_core import from_json, to_json

from schemas.domain.claim import Cause, CauseKind, Source
from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.domain.record import BREAKER_STATE_CODES, CAUSE_CODES, LAYOUT, SOURCE_CODES, Record, pack, unpack
from schemas.domain.schedule import BUILT_IN_SCHEDULE, ParameterSet
from schemas.domain.sealing import NewerCodeError, NewerLayoutError, NewerReleaseError, seal, unseal
from schemas.domain.state import LABELS, BreakerState, SleepState
from schemas.wire.tenant_view import state_record
from tests.support.claims import QUICK, Tenant, breaker, folded, mode, operation, pin, tenants
from tests.support.times import NOW

RULES = [BUILT_IN_RULES]


# As a worker of layout 1 wrote it.
FIRST_LAYOUT = (
    b'[1,3,3,1795334837992,[0,"a@1"],[[0,"a@1",1,1795334837992,1795335737992,1795334837000],'
    b'[1,"op",2,1795334837993,1795334897993,"ops","why"]],[0,3,1795334837992,1795334837992],null,0,null,'
    b"1795334837993,1795334837994,7,2,0]"
)


def packed_fields(record: Record | None = None) -> list[Any]:
    """Return the layout of a frozen tenant's record as JSON, with the fields that are left out."""
    result = record or folded([breaker("payments@pod-1", "open", NOW + 900_000)]).record
    fields: list[Any] = from_json(unseal(pack(result, BUILT_IN_SCHEDULE)))
    return [*fields, *[0, 0, 0, 0, fields[5], None, 0, None][len(fields) - 7 :]]


@QUICK
@given(tenants())
def test_a_record_survives_redis(tenant: Tenant) -> None:
    """Every field of every record, to the last digit."""
    assert unpack(pack(tenant.record, tenant.terms.schedule), [tenant.rules]) == tenant.record


@QUICK
@given(tenants())
def test_what_is_published_is_the_same_before_and_after_a_restart(tenant: Tenant) -> None:
    """Byte for byte: an output that is emitted twice is the same twice."""
    again = unpack(pack(tenant.record, tenant.terms.schedule), [tenant.rules])
    published = to_json(state_record("acme", 3, tenant.record, tenant.terms))
    assert to_json(state_record("acme", 3, again, tenant.terms)) == published
    assert pack(again, tenant.terms.schedule) == pack(tenant.record, tenant.terms.schedule)


def test_a_claim_of_each_source_survives_redis() -> None:
    """With actor, reason and the time of the breaker's event where there is one."""
    claims = [
        replace(breaker("a@1", "half_open", NOW + 1), occurred_at=NOW - 5, reason="slow"),
        breaker("b@", "forced_open"),
        operation("op", "deep", NOW + 9),
        mode("light"),
        replace(pin("freeze", NOW + 3), actor=None),
    ]
    record = folded(claims).record
    assert unpack(pack(record, BUILT_IN_SCHEDULE), RULES) == record


def test_a_record_of_a_tenant_s_own_policy_survives_redis() -> None:
    """The policy too, and a ramp between sets of another schedule."""
    schedule = {
        name: {"K": 9, "t": 1, "tau": 0.3, "eta": 0, "lambda": 0, "B": 1}
        for name in ("active", "light", "deep", "freeze")
    }
    tenant = folded([breaker("a@1", "open")], {"schedule": schedule, "floor": "light"})
    assert unpack(pack(tenant.record, tenant.terms.schedule), RULES) == tenant.record


def test_sets_of_the_schedule_are_read_under_the_rules_of_the_record() -> None:
    """An index means a set of the schedule that was in force."""
    set_ = {"K": 9, "t": 1, "tau": 0.3, "eta": 0, "lambda": 0, "B": 1}
    rules = parse_rules(1, {"schedule": dict.fromkeys(("active", "light", "deep", "freeze"), set_)})
    tenant = folded([breaker("a@1", "open")], rules=rules.document)
    record = replace(tenant.record, rules_number=1)
    assert unpack(pack(record, tenant.terms.schedule), [BUILT_IN_RULES, rules]).ramp.target.K == 9


def test_the_recorded_codes_never_change() -> None:
    """Every Redis holds them. A new member takes the next number here and in the table."""
    assert SOURCE_CODES == {"breaker": 0, "operation": 1, "mode": 2, "pin": 3}
    kinds = ["breaker", "operation", "cancel", "mode", "pin", "policy", "rules", "expired", "pin_ended", "hold_ended"]
    assert {kind: code for code, kind in enumerate(kinds)} == CAUSE_CODES
    states = ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"]
    assert {state: code for code, state in enumerate(states)} == BREAKER_STATE_CODES
    assert [(state.name, state.value) for state in SleepState] == list(zip(LABELS, range(4), strict=True))
    assert LABELS == ("active", "light", "deep", "freeze")
    assert ParameterSet.__struct_fields__ == ("K", "t", "tau", "eta", "lambda_", "B")


@pytest.mark.parametrize(
    ("codes", "names"), [(SOURCE_CODES, Source), (CAUSE_CODES, CauseKind), (BREAKER_STATE_CODES, BreakerState)]
)
def test_every_name_has_a_code_of_its_own(codes: Mapping[str, int], names: object) -> None:
    """In whatever order its `Literal` lists the names."""
    assert codes.keys() == set(get_args(names))
    assert len(set(codes.values())) == len(codes)


def test_a_code_is_what_is_packed() -> None:
    """Of a cause, a source and a breaker's state."""
    packed = packed_fields(replace(folded([breaker("a@1", "forced_open")]).record, cause=Cause("pin_ended", "pin")))
    assert packed[7] == [8, "pin"]
    assert packed[6][0][:3] == [0, "a@1", 3]


def with_code(code: object) -> Iterator[tuple[str, bytes]]:
    """Yield, for each place of a record that holds a code, its name and a sealed record with this code there."""
    fields = packed_fields()
    for what, change in (
        ("state", {5: code}),
        ("state", {11: code}),
        ("cause", {7: [code, "x"]}),
        ("claim source", {6: [[code, "a@1", 1, 0, 0, 0]]}),
        ("breaker state", {6: [[0, "a@1", code, 0, 0, 0]]}),
        ("state", {6: [[1, "op-1", code, 0, 9]]}),
    ):
        yield what, seal(to_json([change.get(index, field) for index, field in enumerate(fields)]))


@pytest.mark.parametrize("code", [-1, 1.5, "open", None, True, [1]])
def test_what_is_no_code_is_refused(code: object) -> None:
    """Rather than read as another name."""
    for what, packed in with_code(code):
        with pytest.raises(ValueError, match=f"not a tenant record of layout 2: {what} .* is no code") as refused:
            unpack(packed, RULES)
        assert not isinstance(refused.value, NewerReleaseError)


def test_an_unknown_code_in_an_intact_record_is_of_a_newer_release() -> None:
    """Nothing is damaged, so the message asks for an upgrade, and for no rebuild."""
    for what, packed in with_code(99):
        with pytest.raises(NewerCodeError, match=f"^{what} 99 is of a newer release; upgrade: run the newer version"):
            unpack(packed, RULES)


def test_an_unknown_policy_field_in_an_intact_record_is_of_a_newer_release() -> None:
    """Likewise: each release reads all fields that were ever there."""
    packed = seal(to_json(replaced(packed_fields(), 14, '{"floor_at": "light"}')))
    with pytest.raises(NewerCodeError, match=r"^policy field 'floor_at' is of a newer release; upgrade"):
        unpack(packed, RULES)


def test_an_unknown_code_in_a_damaged_record_is_damage() -> None:
    """The checksum is looked at first."""
    for _, packed in with_code(99):
        with pytest.raises(ValueError, match="damaged: its checksum is wrong"):
            unpack(packed[:-1] + bytes([packed[-1] ^ 1]), RULES)


def test_a_tenant_of_one_breaker_takes_at_most_76_bytes() -> None:
    """With timer, name and Redis' own structures 280 bytes, the target of specification.md#redis-keys."""
    record = folded([breaker("payments@pod-0", "open", NOW + 900_000)]).record
    record = replace(record, cause=Cause("breaker", "payments@pod-0"), offset=987_654, version=1)
    assert len(pack(record, BUILT_IN_SCHEDULE)) <= 76


def test_what_is_usual_takes_no_bytes() -> None:
    """One claim, which is the cause of the state since the last event, and no field of its own."""
    fields: list[Any] = from_json(unseal(pack(folded([breaker("a@1", "open")]).record, BUILT_IN_SCHEDULE)))
    assert fields[5:] == [3, [[0, "a@1", 1, 0]]]


@QUICK
@given(tenants())
def test_all_that_is_unusual_takes_a_field(tenant: Tenant) -> None:
    """A record without any usual value keeps all of them."""
    record = replace(
        tenant.record, cause=Cause("rules", None), held_until=NOW + 7, policy_version=3, at=NOW - 1, since=NOW - 2
    )
    assert unpack(pack(record, tenant.terms.schedule), [tenant.rules]) == record


def test_a_record_of_the_first_layout_is_read() -> None:
    """A worker of this release goes on from what an older one has written."""
    record = unpack(seal(FIRST_LAYOUT), RULES)
    first, second = record.claims.values()
    assert (record.state, record.since, record.cause) == (SleepState.freeze, NOW, Cause("breaker", "a@1"))
    assert (record.at, record.clock, record.offset, record.version) == (NOW + 1, NOW + 2, 7, 2)
    assert (first.breaker_state, first.occurred_at, first.expires_at) == ("open", NOW - 992, NOW + 900_000)
    assert (second.state, second.expires_at, second.actor, second.reason) == (2, NOW + 60_001, "ops", "why")
    assert unpack(pack(record, BUILT_IN_SCHEDULE), RULES) == record


@pytest.mark.parametrize("asleep", [0, 1])
def test_a_typical_record_takes_at_most_300_bytes(asleep: int) -> None:
    """Also for a long name and a big log."""
    name = "checkout-service.payments-gateway@checkout-7f9c5d6b8-x2x4k"
    state: Any = ("closed", "open")[asleep]
    record = folded([replace(breaker(name, state, NOW + 900_000), occurred_at=NOW)]).record
    packed = pack(replace(record, offset=987_654_321, version=12_345, rules_number=12), BUILT_IN_SCHEDULE)
    assert len(packed) <= 300


def test_a_newer_layout_is_refused_as_such() -> None:
    """The worker stops, and the error says what to do."""
    fields = packed_fields()
    fields[0] = LAYOUT + 1
    with pytest.raises(NewerLayoutError, match="run the newer version"):
        unpack(seal(to_json([*fields, "a field of tomorrow"])), RULES)


def without(fields: list[Any], place: int) -> list[Any]:
    """Return the fields but for one."""
    return fields[:place] + fields[place + 1 :]


def replaced(fields: list[Any], place: int, value: object) -> list[Any]:
    """Return the fields with another value in one place."""
    return [*fields[:place], value, *fields[place + 1 :]]


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xff\x00",
        b"{}",
        b"[]",
        b"null",
        b'["1"]',
        b"[0]",
        b"[1]",
        b"[2]",
        FIRST_LAYOUT[:-3] + b"]",
        FIRST_LAYOUT[:-1] + b",1]",
        FIRST_LAYOUT[:-2] + b"-1]",
        FIRST_LAYOUT.replace(b"[0,3,", b"[7,7,"),
        to_json(packed_fields())[:-10],
        to_json(without(packed_fields(), 6)),
        to_json([*packed_fields(), 1]),
        to_json(replaced(packed_fields(), 5, -1)),
        to_json(replaced(packed_fields(), 5, "freeze")),
        to_json(replaced(packed_fields(), 6, [[0]])),
        to_json(replaced(packed_fields(), 6, [[0, "a@1", 1, 0, 0, 0, None, None, 1]])),
        to_json(replaced(packed_fields(), 7, 1)),
        to_json(replaced(packed_fields(), 7, -1)),
        to_json(replaced(packed_fields(), 7, "rules")),
        to_json(replaced(packed_fields(), 10, 1)),
        to_json(replaced(packed_fields(), 10, [7, 7, 0, 0])),
        to_json(replaced(packed_fields(), 10, [[1], 0, 0, 0])),
        to_json(replaced(packed_fields(), 14, "{")),
        to_json(replaced(packed_fields(), 14, '{"floor": "asleep"}')),
        to_json(replaced(packed_fields(), 14, ["policy"])),
        to_json(replaced(packed_fields(), 4, 5)),
        to_json(replaced(packed_fields(), 4, -1)),
    ],
)
def test_bytes_that_are_no_record_are_refused(packed: bytes) -> None:
    """As a ValueError, and never half read, though the checksum is right."""
    with pytest.raises(ValueError, match=r".") as refused:
        unpack(seal(packed), RULES)
    assert not isinstance(refused.value, NewerReleaseError)


def test_a_flipped_byte_is_found_wherever_it_is() -> None:
    """Most of them would make another record, or another tenant's sleep, of it."""
    packed = pack(folded([breaker("payments@pod-1", "open", NOW + 900_000)]).record, BUILT_IN_SCHEDULE)
    for place in range(len(packed)):
        for bit in (1, 8, 128):
            flipped = packed[:place] + bytes([packed[place] ^ bit]) + packed[place + 1 :]
            with pytest.raises(ValueError, match="damaged: its checksum is wrong"):
                unpack(flipped, RULES)


@pytest.mark.parametrize("packed", [b"", b"\x00", b"[1]"])
def test_bytes_without_a_checksum_are_damaged(packed: bytes) -> None:
    """Nothing is read from them."""
    with pytest.raises(ValueError, match="damaged: its checksum is wrong"):
        unpack(packed, RULES)
