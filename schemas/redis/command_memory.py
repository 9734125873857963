"""The layout of a command in Redis: a few bytes of fixed size, for as long as repeats are compared with it.

A tenant may send 600 commands a minute, and Redis holds those of two hours. So an id is stored as its digest, a record
has fields by position, and texts are stored only while an operation is live.
"""

from hashlib import sha256
from struct import Struct
from typing import Any, Final, get_args

from pydantic_core import from_json, to_json

from schemas.domain.sealing import NewerLayoutError, named, seal, unseal
from schemas.domain.state import BY_DEPTH
from schemas.wire.operation import CommandType, OperationRecord, RefusalCode

LAYOUT: Final = 2
"""Version of the layout that `pack` writes. Layout 1 was `OperationRecord.pack`, under a key of its own."""
# Layout; finished_at; type, flags, code, target, state, previous state; created_at, expires_at, offset; decision.
# `worker/adapters/lua/commit.lua` reads the second field. It is big-endian, so that bytes compare like numbers.
_FIXED: Final = Struct(">BQ6Bqqq16s")
_CHECKSUM_BYTES: Final = 4
FIXED_BYTES: Final = _FIXED.size + _CHECKSUM_BYTES
"""The length of a record without texts: 59 bytes, which take 64 in Redis."""
# A number is an index into these, and a new name is appended. A release that does not know it asks for an upgrade.
_TYPES: Final[tuple[CommandType, ...]] = ("operation", "cancel", "mode", "policy")
_CODES: Final[tuple[RefusalCode | None, ...]] = (None, *get_args(RefusalCode))
_TYPE_NAMES: Final = dict(enumerate(_TYPES))
_CODE_NAMES: Final = dict(enumerate(_CODES))
_NO_STATE: Final = 255
_REFUSED, _CANCELLED, _ENDS = 1, 2, 4
# The first byte of layout 1.
_JSON_ARRAY: Final = b"["


def field_of(tenant: str, operation_id: str) -> bytes:
    """Return the field of a command in its partition's hash: 16 bytes for any id.

    A tenant id holds no slash, so the pair is unambiguous. To guess another tenant's field takes 2^128 attempts.
    """
    return sha256(f"{tenant}/{operation_id}".encode()).digest()[:16]


def time_bytes(ms: int) -> bytes:
    """Return a time as bytes that compare like numbers; 0 for a time before 1970."""
    return max(ms, 0).to_bytes(8, "big")


def pack(operation: OperationRecord, *, live: bool) -> bytes:
    """Return the bytes of a command; with actor, reason and trace id only for a live operation."""
    flags = _REFUSED * operation.refused + _CANCELLED * (operation.cancelled_at is not None)
    flags += _ENDS * (operation.expires_at is not None)
    fixed = _FIXED.pack(
        LAYOUT,
        max(operation.finished_at, 0),
        _TYPES.index(operation.type),
        flags,
        _CODES.index(operation.code),
        _NO_STATE if operation.target_state is None else operation.target_state,
        operation.state,
        operation.previous_state,
        operation.created_at,
        operation.expires_at or 0,
        operation.offset,
        bytes.fromhex(operation.decision),
    )
    texts = seal(to_json([operation.actor, operation.reason, operation.trace_id])) if live else b""
    return seal(fixed) + texts


def unpack(packed: bytes, partition: int, tenant: str, operation_id: str) -> OperationRecord:
    """Return the command of these bytes, without texts after its end.

    Raises:
        NewerReleaseError: if a newer version wrote it.
        ValueError: if the bytes are damaged, or not such a record.
    """
    if packed.startswith(_JSON_ARRAY):
        return OperationRecord.unpack(packed)
    fixed, texts = unseal(packed[:FIXED_BYTES]), packed[FIXED_BYTES:]
    if fixed[0] > LAYOUT:
        raise NewerLayoutError(fixed[0], LAYOUT)
    if fixed[0] != LAYOUT or len(fixed) != _FIXED.size:
        msg = "not a remembered command of layout 2"
        raise ValueError(msg)
    _, finished_at, kind, flags, code, target, state, previous, created_at, expires_at, offset, decision = (
        _FIXED.unpack(fixed)
    )
    actor, reason, trace_id = _texts(texts)
    return OperationRecord(
        operation_id=operation_id,
        tenant_id=tenant,
        type=named("command type", kind, _TYPE_NAMES),
        refused=bool(flags & _REFUSED),
        cancelled_at=finished_at if flags & _CANCELLED else None,
        target_state=None if target == _NO_STATE else named("state", target, BY_DEPTH),
        created_at=created_at,
        expires_at=expires_at if flags & _ENDS else None,
        code=named("refusal code", code, _CODE_NAMES),
        detail=None,
        state=named("state", state, BY_DEPTH),
        previous_state=named("state", previous, BY_DEPTH),
        position=f"{partition}:{offset}",
        actor=actor,
        reason=reason,
        trace_id=trace_id,
        decision=decision.hex(),
    )


def _texts(packed: bytes) -> tuple[str | None, str | None, str | None]:
    if not packed:
        return None, None, None
    texts: Any = from_json(unseal(packed))
    if not isinstance(texts, list) or len(texts) != 3:  # noqa: PLR2004 - as `pack` writes them
        msg = "its texts are not what was packed"
        raise ValueError(msg)
    actor, reason, trace_id = texts
    return actor, reason, trace_id
