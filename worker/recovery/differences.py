"""A difference between the log and what was published of it, and how two state records are compared. Pure."""

from typing import Any, Final, NamedTuple

from pydantic_core import from_json

Document = dict[str, Any]
# A renewal changes these and publishes nothing.
_UNPUBLISHED: Final = ("clock", "rules_number")


class Difference(NamedTuple):
    """Something that is not as the log says.

    Attributes:
        partition: its number.
        tenant: whose record differs, None if the difference is the partition's.
        where: `redis` or `states`.
        what: in words.
        fields: of each field that differs, what the log says and what was read.
    """

    partition: int
    tenant: str | None
    where: str
    what: str
    fields: dict[str, tuple[Any, Any]]


def compare_documents(
    difference: Difference, expected: Document | None, actual: Document | None, *, published_only: bool
) -> Difference | None:
    """Compare two state records.

    Args:
        difference: whose records they are, and where the second was read.
        expected: the record by the log, None for none.
        actual: the record that was read, None for none.
        published_only: whether to leave out what a renewal changes without publishing it.

    Returns:
        The difference with its words and fields; None if the records are equal.
    """
    if expected is None or actual is None:
        what = "is missing" if actual is None else "should not be there"
        return None if expected is actual else difference._replace(what=what)
    if published_only:
        expected, actual = _published(expected), _published(actual)
    fields = {name: (expected[name], actual.get(name)) for name in expected if expected[name] != actual.get(name)}
    return difference._replace(what="differs", fields=fields) if fields else None


def _published(document: Document) -> Document:
    claims = [{**claim, "occurred_at": None} for claim in document["claims"]]
    return {name: value for name, value in document.items() if name not in _UNPUBLISHED} | {"claims": claims}


def parsed(value: bytes | None) -> Document | None:
    """Return the state record in a value, None for a tombstone."""
    document: Document | None = None if value is None else from_json(value)
    return document
