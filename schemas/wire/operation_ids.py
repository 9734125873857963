"""The operation id of an idempotency key. The client of a run needs it too, to look up a command without an answer."""

from typing import Final
from uuid import UUID, uuid5

NAMESPACE: Final = UUID("784f53eb-d9e1-44dc-b3bb-f3c0c06dd5bd")
"""Namespace of the operation ids that are made of keys (UUIDv5, RFC 9562). A new namespace would forget all keys."""


def operation_id_of(tenant: str, subject: str, key: str) -> str:
    """Return the operation id of a key. The line breaks are unambiguous: no tenant id and no subject holds one."""
    return str(uuid5(NAMESPACE, f"{tenant}\n{subject}\n{key}"))
