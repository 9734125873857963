"""Entity tags of policies: the version in quotes."""

import re
from typing import Final

from api.errors.problems import ProblemError

TAGS_PATTERN: Final = r'^(\*|(W/)?"[\x21\x23-\x7e]*"( *, *(W/)?"[\x21\x23-\x7e]*")*)$'
"""`*` or a list of entity tags (RFC 9110, section 13.1.1)."""
_TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*(?:,|$)')
_MOST_TAGS: Final = 32
_VERSION: Final = re.compile(r"0|[1-9][0-9]{0,17}")


def etag(version: int) -> str:
    """Return the entity tag of a policy version; 0 is the default."""
    return f'"{version}"'


def parse_if_match(header: str | None) -> frozenset[int] | None:
    """Return the versions in an `If-Match` header, None for `*`, which always matches.

    Weak tags and tags of another form name no version, since `If-Match` compares strongly.

    Raises:
        ProblemError: `precondition_required` without the header, `malformed_request` for other text and for more than
            32 tags.
    """
    if header is None:
        raise ProblemError(
            "precondition_required",
            'send If-Match with the ETag of the policy that you read, or "*" without quotes',
        )
    if header.strip() == "*":
        return None
    if header.count(",") >= _MOST_TAGS:
        raise ProblemError("malformed_request", f"If-Match has more than {_MOST_TAGS} entity tags")
    versions: set[int] = set()
    position = 0
    while position < len(header) or not position:
        match = _TAG.match(header, position)
        if match is None:
            raise ProblemError("malformed_request", "If-Match is neither * nor a list of quoted entity tags")
        if match[1] is None and _VERSION.fullmatch(match[2]):
            versions.add(int(match[2]))
        position = match.end()
    return frozenset(versions)
