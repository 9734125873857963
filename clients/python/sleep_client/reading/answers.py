"""What an answer of the server means for a reader."""

from enum import Enum
from typing import Final, NamedTuple

from sleep_client.protocol.answer import Answer

PATH: Final = "/api/states/events"
CONTENT_TYPE: Final = "text/event-stream"
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


class Meaning(Enum):
    """What an answer means.

    Attributes:
        ACCEPTED: the stream follows.
        LATER: try again later.
        CONTENT: the stream cannot be understood.
        TOKEN: the token is not accepted. It may just have ended.
        PERSON: only a person can change it.
    """

    ACCEPTED = "accepted"
    LATER = "later"
    CONTENT = "content"
    TOKEN = "token"  # noqa: S105 - a name
    PERSON = "person"


class Verdict(NamedTuple):
    """An answer as it concerns a reader: its meaning, the reason for people, and the seconds that it asks to wait."""

    meaning: Meaning
    finding: str = ""
    retry_after: int | None = None


def judge(answer: Answer) -> Verdict:
    """Return what an answer means. Its body counts only if it is no stream."""
    status, finding = answer.status, answer.finding
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == _OK and kind == CONTENT_TYPE:
        if answer.headers.get("content-encoding", "identity") != "identity":
            return Verdict(Meaning.PERSON, "a proxy compresses the stream; configure it to pass on events as they come")
        return Verdict(Meaning.ACCEPTED)
    if status == _UNAUTHORIZED:
        return Verdict(Meaning.TOKEN, f"{finding}; check the token")
    if answer.passes:
        return Verdict(Meaning.LATER, finding, answer.retry_after)
    if status == _FORBIDDEN:
        hint = "the token needs the scope sleep:read-any, or with `tenants` the right to read each of them"
    elif status == _NOT_FOUND:
        hint = "check the URL; a server of Somabrain Sleep that is too old has no stream of states"
    else:
        hint = "check the URL, and whether a server of Somabrain Sleep answers there"
    return Verdict(Meaning.PERSON, f"{finding}; {hint}")
