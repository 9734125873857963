"""The present of a tenant for a reader of states: what a client answers, by the functions that the API uses."""

from collections.abc import Iterable
from typing import Any

from schemas.domain.policy import Rules
from schemas.domain.record import Record
from schemas.domain.schedule import ParameterSet
from schemas.wire.listing import listed_until, rest_of_record
from schemas.wire.tenant_view import present


def default_answer(default: ParameterSet) -> dict[str, Any]:
    """Return the answer for a tenant that is not listed: awake at the default active set, nobody knows since when."""
    return {"state": "active", "parameters": default.as_json(), "since": None, "cause": None, "ends_at": None}


def read_state(tenant: str, record: Record, rules: Iterable[Rules], default: ParameterSet, now: int) -> dict[str, Any]:
    """Return the answer for a tenant with a record.

    `since` and `cause` are those of `decided`. In a dry run they follow expirations only once a record says so, and a
    reader cannot know that before. Everywhere else `decided` is the state.

    Args:
        tenant: its name.
        record: its record.
        rules: all rules, by number.
        default: the default active set of the tenant's partition.
        now: the time, in milliseconds.
    """
    numbered = list(rules)
    terms = numbered[record.rules_number].terms_for(record.policy)
    if now >= listed_until(rest_of_record(record, terms), default):
        return default_answer(default)
    document = present(tenant, 0, record, numbered, now)
    following = document["forecast"]
    return {name: document[name] for name in ("state", "parameters", "since", "cause")} | {
        "ends_at": following[0]["at"] if following else None
    }
