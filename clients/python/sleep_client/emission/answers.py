"""What an answer of the server means for the batch that was sent."""

import re
from enum import Enum
from typing import Any, Final, NamedTuple

from sleep_client.protocol.answer import Answer

_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429
_INDEX: Final = re.compile(r"\[(\d{1,6})\]")


class Meaning(Enum):
    """What an answer means.

    Attributes:
        ACCEPTED: all events are in the log.
        LATER: nothing is wrong with the batch; send it again later.
        CONTENT: at least one event is invalid.
        TENANT: at least one tenant may not be reported, or not now.
        TOKEN: the token is not accepted. It may just have ended.
        PERSON: only a person can change it: a wrong URL, a missing scope, or another server.
    """

    ACCEPTED = "accepted"
    LATER = "later"
    CONTENT = "content"
    TENANT = "tenant"
    TOKEN = "token"  # noqa: S105 - a name
    PERSON = "person"


class Verdict(NamedTuple):
    """An answer as it concerns a batch.

    Attributes:
        meaning: what it means.
        finding: the reason, for people.
        retry_after: the seconds that the server asks to wait; None if it does not say.
        wrong: the indices of the events that the answer names as invalid.
    """

    meaning: Meaning
    finding: str = ""
    retry_after: int | None = None
    wrong: tuple[int, ...] = ()


def judge(answer: Answer, sent: int) -> Verdict:
    """Return what an answer means for a batch of `sent` events; 0 is the first request, which has no events."""
    document = answer.document
    meaning = _meaning(answer, document, sent)
    retry_after = answer.retry_after
    if answer.status == _TOO_MANY and retry_after is None:
        retry_after = 1
    wrong = _wrong(document, sent) if meaning is Meaning.CONTENT else ()
    return Verdict(meaning, _finding(answer, meaning), retry_after, wrong)


def _meaning(answer: Answer, document: dict[str, Any], sent: int) -> Meaning:
    match answer.status:
        case 202:
            # A proxy's page may have any status.
            return Meaning.ACCEPTED if document.get("accepted") == sent else Meaning.PERSON
        case 401:
            return Meaning.TOKEN
        case 403 if sent:
            return Meaning.TENANT
        case 429 if sent and _is_of_tenant(document):
            return Meaning.TENANT
        case 400 | 413 | 422 if sent:
            return Meaning.CONTENT
        case _:
            return Meaning.LATER if answer.passes else Meaning.PERSON


def _finding(answer: Answer, meaning: Meaning) -> str:
    finding = answer.finding
    match meaning:
        case Meaning.TOKEN:
            return f"{finding}; check the token"
        case Meaning.PERSON if answer.status == _FORBIDDEN:
            return f"{finding}; the token needs the scope sleep:emit, or sleep:emit-any"
        case Meaning.PERSON:
            return f"{finding}; check the URL, and whether a server of Somabrain Sleep answers there"
        case _:
            return finding


def _is_of_tenant(document: dict[str, Any]) -> bool:
    """Tell whether a tenant's budget of events refused the batch, and not the caller's budget of refused requests."""
    violated = document.get("violated-policies")
    return isinstance(violated, list) and any(str(each).startswith("emit") for each in violated)


def _wrong(document: dict[str, Any], sent: int) -> tuple[int, ...]:
    """Return the indices in the names of the wrong fields, such as `[3].subject`."""
    errors = document.get("errors")
    fields = [str(each.get("field")) for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    found = {int(match[1]) for field in fields if (match := _INDEX.match(field)) is not None}
    return tuple(sorted(index for index in found if index < sent))
