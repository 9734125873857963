"""A reader of server-sent events, as strict as the format."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
from pydantic_core import from_json


class Event(NamedTuple):
    """One event; `id` and `retry` are None where it came without, and a comment has the name ""."""

    name: str
    id: str | None
    data: Any
    retry: int | None = None


def parse_block(block: str) -> Event:
    """Return what one block, without the empty line after it, says."""
    name, identifier, data, retry = "", None, [], None
    for line in block.split("\n"):
        field, _, text = line.partition(":")
        text = text.removeprefix(" ")
        match field:
            case "event":
                name = text
            case "id":
                identifier = text
            case "data":
                data.append(text)
            case "retry":
                retry = int(text)
            case _:
                assert field == "", f"no field of the format: {line!r}"
    return Event(name, identifier, from_json("\n".join(data)) if data else None, retry)


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """Yield a response's events, comments among them, until it ends."""
    left = ""
    async for text in response.aiter_text():
        *blocks, left = (left + text).split("\n\n")
        for block in blocks:
            yield parse_block(block)
