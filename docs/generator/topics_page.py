"""The page of the topics, made from the AsyncAPI document."""

from collections.abc import Mapping
from typing import Any, Final

from docs.generator.asyncapi import asyncapi
from docs.generator.markdown import table

_INTRO: Final = """\
# Topics

For operators, and for readers and writers of the topics. This page lists each topic with its settings, its records, and
who reads and writes it. `SLEEP_TOPIC_PREFIX` changes the first part of all names.

`sleepctl topics create` creates the topics with these settings, and `sleepctl topics check` names each that differs.
The partition count is that of `SLEEP_PARTITIONS`. [`asyncapi.json`](../../schemas/json/asyncapi.json) has the same for
generators of code.
"""
_PAGES: Final = {
    "state": "records.md#statev1",
    "rules": "records.md#rules-recordv1",
    "transition": "records.md#transitionv1",
    "deadLetter": "records.md#deadletterv1",
}
"""The pages of records whose payload is a document of ours; those of events are on the page of events."""
_DAY_MS: Final = 86_400_000


def topics_page() -> str:
    """Return the page of the topics."""
    document = asyncapi()
    channels: Mapping[str, Mapping[str, Any]] = document["channels"]
    rows = [(f"[`{each['address']}`](#{_anchor(each)})", each["description"]) for each in channels.values()]
    sections = [_section(name, each, document) for name, each in channels.items()]
    return "\n".join([_INTRO, table(("topic", "what it holds"), rows), *sections])


def _anchor(channel: Mapping[str, Any]) -> str:
    return str(channel["address"]).replace(".", "")


def _section(name: str, channel: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    binding = channel["bindings"]["kafka"]
    settings = [("partitions", f"{binding['partitions']}, from `SLEEP_PARTITIONS`")]
    settings += [(f"`{key}`", _value(key, value)) for key, value in binding["topicConfiguration"].items()]
    messages = document["components"]["messages"]
    records = [
        (_link(each, messages[each]["title"]), messages[each]["contentType"], messages[each]["summary"])
        for each in channel["messages"]
    ]
    uses = [
        f"- {each['summary']}"
        for each in document["operations"].values()
        if each["channel"]["$ref"] == f"#/channels/{name}"
    ]
    return "\n".join(
        [
            f"## {channel['address']}\n\n{channel['description']}\n",
            table(("record", "content type", "what it is"), records),
            table(("setting", "value"), settings),
            "\n".join(uses) + "\n",
        ]
    )


def _link(message: str, title: str) -> str:
    page = _PAGES.get(message) or f"events.md#{message.removesuffix('Event')}v1"
    return f"[`{title}`]({page})"


def _value(key: str, value: Any) -> str:  # noqa: ANN401 - text, number or list, as in the document
    text = f"`{', '.join(value) if isinstance(value, list) else value}`"
    if key.endswith(".ms") and isinstance(value, int):
        days = value / _DAY_MS
        return f"{text}, {days:g} day{'' if days == 1 else 's'}"
    return text
