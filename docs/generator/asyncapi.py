"""The AsyncAPI document: the topics, their settings, and what their records hold.

AsyncAPI 3.0.0, https://www.asyncapi.com/docs/reference/specification/v3.0.0; the Kafka bindings are version 0.5.0.
Payloads are the JSON Schemas beside the document.
"""

from typing import Any, Final

from docs.generator.an_installation import AN_INSTALLATION
from docs.generator.json_schemas import DOCUMENTS, EVENTS
from schemas.build_info import version
from schemas.kafka.topics import Topic, wanted_topics
from schemas.wire.cloudevents import CONTENT_TYPE

_KAFKA: Final = "0.5.0"
_DRAFT: Final = "application/schema+json;version=draft-2020-12"
_TENANT: Final = {"type": "string", "description": "The tenant; without a tenant the record has no key."}
# Settings of topics are text, and the bindings want some of them as numbers, and one as a list.
_TEXT: Final = ("message.timestamp.type", "unclean.leader.election.enable")

_TOPICS: Final = {
    "events": "Everything that happens to a tenant, in one order: what breakers report, commands, policies, timers.",
    "states": "The tenants now. Compacted: to know the present, read it from its beginning.",
    "transitions": "The audit: every change of a decision, every outcome of a command, every refusal.",
    "breakers": "What breakers report. The worker checks it and copies it to the events topic.",
    "deadletter": "Records that could not be read or were not valid, as they came, with the reason in their headers.",
}
_OPERATIONS: Final = {
    "foldEvents": ("receive", "events", "The worker folds events, in order, into each tenant's state."),
    "publishCommands": ("send", "events", "The API publishes commands, the worker timers."),
    "publishStates": ("send", "states", "The worker publishes a tenant's state with each commit that changes it."),
    "publishTransitions": ("send", "transitions", "The worker publishes the rows of the audit."),
    "takeBreakerEvents": ("receive", "breakers", "The worker reads what emitters send."),
    "keepDeadLetters": ("send", "deadletter", "The worker keeps what it cannot use."),
}


def asyncapi() -> dict[str, Any]:
    """Return the document, for an installation with the default names."""
    topics = dict(zip(_TOPICS, wanted_topics(AN_INSTALLATION), strict=True))
    messages = _messages()
    carried = {
        "events": [f"{name}Event" for name in EVENTS],
        "states": ["state", "rules"],
        "transitions": ["transition"],
        "breakers": ["breakerEvent"],
        "deadletter": ["deadLetter"],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Somabrain Sleep",
            "version": version(),
            "description": "Decides how deep each tenant of a platform sleeps. These are its topics; "
            "`SLEEP_TOPIC_PREFIX` changes the first part of their names.",
        },
        "defaultContentType": "application/json",
        "channels": {
            name: {
                "address": topic.name,
                "title": topic.name,
                "description": _TOPICS[name],
                "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in carried[name]},
                "bindings": {"kafka": _binding(topic)},
            }
            for name, topic in topics.items()
        },
        "operations": {
            name: {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}
            for name, (action, channel, summary) in _OPERATIONS.items()
        },
        "components": {"messages": messages},
    }


def _binding(topic: Topic) -> dict[str, Any]:
    config: dict[str, Any] = {
        name: value if name in _TEXT else int(value)
        for name, value in topic.config.items()
        if name not in ("cleanup.policy", "unclean.leader.election.enable")
    }
    return {
        "topic": topic.name,
        "partitions": topic.partitions,
        "topicConfiguration": {"cleanup.policy": [topic.config["cleanup.policy"]], **config},
        "bindingVersion": _KAFKA,
    }


def _messages() -> dict[str, Any]:
    events = {
        f"{name}Event": _message(f"sleep.{name}.v1", f"{name}.v1", _summary(model), CONTENT_TYPE)
        for name, model in EVENTS.items()
    }
    return events | {
        "state": _message("state", "state.v1", _summary(DOCUMENTS["state"]))
        | {
            "headers": {
                "type": "object",
                "properties": {
                    "sleep.new": {
                        "type": "string",
                        "description": "Present if the tenant had no record before the commit: "
                        "the position at which the commit began.",
                    }
                },
            }
        },
        "rules": _message("rules", "rules-record.v1", _summary(DOCUMENTS["rules-record"])),
        "transition": _message("transition", "transition.v1", _summary(DOCUMENTS["transition"])),
        "deadLetter": {
            "name": "deadLetter",
            "title": "deadLetter",
            "summary": _summary(DOCUMENTS["deadletter"]),
            "contentType": "application/octet-stream",
            "headers": _schema("deadletter.v1"),
            "bindings": {"kafka": {"key": {"type": "string", "description": "The key of the record."},
                                   "bindingVersion": _KAFKA}},
        },
    }  # fmt: skip


def _message(name: str, schema: str, summary: str, content_type: str = "application/json") -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": summary,
        "contentType": content_type,
        "payload": _schema(schema),
        "bindings": {"kafka": {"key": _TENANT, "bindingVersion": _KAFKA}},
    }


def _schema(name: str) -> dict[str, Any]:
    return {"schemaFormat": _DRAFT, "schema": {"$ref": f"./{name}.schema.json"}}


def _summary(model: type[Any]) -> str:
    return (model.__doc__ or "").partition("\n")[0]
