"""The AsyncAPI document says of the topics what the code says of them."""

from typing import Any, Final

import pytest

from docs.generator.an_installation import AN_INSTALLATION
from docs.generator.asyncapi import asyncapi
from docs.generator.files import ROOT, SCHEMAS, generated
from docs.generator.openapi import openapi
from schemas.kafka.topics import Topic, wanted_topics
from schemas.wire.events import EVENT_MODELS

DOCUMENT: Final = asyncapi()
TOPICS: Final = wanted_topics(AN_INSTALLATION)


@pytest.mark.parametrize("topic", TOPICS, ids=[topic.name for topic in TOPICS])
def test_each_topic_is_a_channel_with_its_settings(topic: Topic) -> None:
    """Those that the bindings of Kafka know."""
    (channel,) = [each for each in DOCUMENT["channels"].values() if each["address"] == topic.name]
    binding = channel["bindings"]["kafka"]
    assert binding["partitions"] == topic.partitions
    stated = {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in binding["topicConfiguration"].items()
    }
    assert stated == {name: value for name, value in topic.config.items() if name != "unclean.leader.election.enable"}


def test_the_events_topic_carries_every_event() -> None:
    """Under the name of its type."""
    messages = DOCUMENT["channels"]["events"]["messages"].values()
    names = {DOCUMENT["components"]["messages"][each["$ref"].rpartition("/")[2]]["name"] for each in messages}
    assert names == set(EVENT_MODELS)


def test_every_reference_leads_to_something() -> None:
    """Within the document, or to a schema beside it."""
    files = generated()
    for reference in references(DOCUMENT):
        if reference.startswith("#/"):
            found: Any = DOCUMENT
            for part in reference[2:].split("/"):
                found = found[part]
        else:
            assert f"{SCHEMAS}/{reference.removeprefix('./')}" in files


def references(part: object) -> list[str]:
    """Return every reference in a document."""
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [each for value in part.values() for each in references(value)]
    if isinstance(part, list):
        return [each for value in part for each in references(value)]
    return []


def test_the_documents_depend_on_nothing_but_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    monkeypatch.setenv("SLEEP_TOPIC_PREFIX", "other")
    monkeypatch.setenv("SLEEP_PARTITIONS", "3")
    assert asyncapi() == DOCUMENT
    assert (ROOT / SCHEMAS / "openapi.json").is_file()
    assert openapi()["paths"].keys() >= {"/api/util/sleep", "/api/brain/sleep_mode", "/api/brain/sleep_policy"}
