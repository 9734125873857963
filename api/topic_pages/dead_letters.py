"""Pages of dead letters, the newest first. They say what could not be used and why, and never show its content."""

from collections.abc import Hashable
from typing import Any, Final

from pydantic import ValidationError

from api.topic_pages.cursor import cursor_of
from api.topic_pages.newest_first import NewestFirst
from api.topic_pages.walk import Bounds
from schemas.kafka.source_record import SourceRecord, Unreadable
from schemas.wire.documents import DeadLetterHeaders

BOUNDS: Final = Bounds(most=2_000, first=100)
"""A dead letter may have 200 KiB, and a row of the audit has one."""
_PREFIX: Final = "sleep.error."
_NAMES: Final = frozenset(str(field.alias) for field in DeadLetterHeaders.model_fields.values())
_MESSAGE_CHARACTERS: Final = 1_024
_KEY_CHARACTERS: Final = 256
_REDRIVE: Final = "sleepctl deadletters redrive"


class DeadLetters:
    """Pages of the dead letters of an installation.

    Args:
        topic: walks over the dead-letter topic.
    """

    def __init__(self, topic: NewestFirst) -> None:
        self._topic = topic

    async def page(self, code: str | None, cursor: str | None, limit: int, holder: Hashable) -> dict[str, Any]:
        """Return at most `limit` dead letters, from a cursor on.

        Args:
            code: only those with this code.
            cursor: that of the page before; None for the newest ones.
            limit: the most dead letters.
            holder: whose page it is.

        Raises:
            ProblemError: `invalid_request` for a wrong cursor; `overloaded` if too many pages are read.
            UnavailableError: if Kafka does not answer, or a partition is not available.
        """

        def keep(record: SourceRecord) -> dict[str, Any] | bool:
            document = document_of(record)
            return document if isinstance(document, bool) or code in (None, document["code"]) else True

        letters: list[dict[str, Any]] = []
        unreadable = 0
        async with self._topic.walk(holder, keep, partitions=None, cursor=cursor) as walk:
            await walk.begin()
            async for taken in walk.newest_first():
                if isinstance(taken.kept, dict):
                    letters.append(taken.kept)
                    if len(letters) == limit:
                        break
                else:
                    unreadable += not taken.kept
            following = cursor_of(walk.marks)
            searched_until = walk.searched_until
        return {
            "dead_letters": letters,
            "cursor": following,
            "searched_until": None if following is None else searched_until,
            "unreadable": unreadable,
        }


def document_of(record: SourceRecord) -> dict[str, Any] | bool:
    """Return the document of a dead letter; True for a note about one, False for a record that is neither."""
    if isinstance(record, Unreadable):
        return False
    texts = {name: (raw or b"").decode(errors="replace") for name, raw in record.headers}
    if not any(name.startswith(_PREFIX) for name in texts):
        # Such as a note of `redrive`. Only its own reader needs to understand it.
        return True
    try:
        headers = DeadLetterHeaders.model_validate({name: texts[name] for name in texts.keys() & _NAMES})
    except ValidationError:
        return False
    key = None if record.key is None else record.key[: 4 * _KEY_CHARACTERS].decode(errors="replace")
    return {
        "place": f"{record.partition}:{record.offset}",
        "written_at": record.timestamp,
        "code": headers.code,
        "message": _cut(headers.message),
        "topic": headers.topic,
        "position": f"{headers.partition}:{headers.offset}",
        "at": int(headers.at),
        "key": None if key is None else key[:_KEY_CHARACTERS],
        "size": int(headers.size),
        "records": int(headers.count or 1),
        "redrive": f"{_REDRIVE} --partition {record.partition} --offset {record.offset}",
    }


def _cut(message: str) -> str:
    """Return the end of a long message: in a traceback the error is there."""
    return message if len(message) <= _MESSAGE_CHARACTERS else f"…{message[1 - _MESSAGE_CHARACTERS :]}"
