"""Entity tags of the policy: its version, in quotes."""

import re
from typing import Final

from api.describe.problems import ProblemError

TAGS_PATTERN: Final = r'^(\*|(W/)?"[\x21\x23-\x7e]*"( *, *(W/)?"[\x21\x23-\x7e]*")*)$'
"""`*` or a list of entity tags (RFC 9110, section 13.1.1)."""
_TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*(?:,|$)')
_VERSION: Final = re.compile(r"0|[1-9][0-9]{0,17}")


def etag(version: int) -> str:
    """Return the entity tag of a policy version; 0 is the default."""
    return f'"{version}"'


def parse_if_match(header: str | None) -> frozenset[int] | None:
    """Return the versions that an `If-Match` header names, None for `*`, which always matches.

    Weak tags and tags of another form name no version, since `If-Match` compares strongly.

    Raises:
        ProblemError: `precondition_required` where there is no header, `malformed_request` for other text.
    """
    if header is None:
        raise ProblemError(
            "precondition_required",
            'send If-Match with the ETag of the policy that you read, or "*" without quotes',
        )
    if header.strip() == "*":
        return None
    versions: set[int] = set()
    position = 0
    while position < len(header) or not position:
        found = _TAG.match(header, position)
        if found is None:
            raise ProblemError("malformed_request", "If-Match is neither * nor a list of quoted entity tags")
        if found[1] is None and _VERSION.fullmatch(found[2]):
            versions.add(int(found[2]))
        position = found.end()
    return frozenset(versions)
