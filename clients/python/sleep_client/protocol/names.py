"""The names of tenants."""

import re
from typing import Final

_TENANT: Final = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


def check_tenant(tenant: object) -> str:
    """Return the name of a tenant.

    Raises:
        ValueError: if the server accepts no such name; the text says what is allowed.
    """
    if not isinstance(tenant, str) or _TENANT.fullmatch(tenant) is None:
        raise ValueError(f"tenant {tenant!r:.100}: use 1 to 128 of A-Z a-z 0-9 . _ : @ -")
    return tenant
