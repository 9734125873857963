"""The JSON Schemas of events and documents."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from schemas.domain import policy
from schemas.wire import documents, events

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

EVENTS: Final[dict[str, type[BaseModel]]] = {
    type_.removeprefix("sleep.").removesuffix(".v1"): model for type_, model in events.EVENT_MODELS.items()
}
DOCUMENTS: Final[dict[str, type[BaseModel]]] = {
    "policy-document": policy.PolicyDocument,
    "rules-document": policy.RulesDocument,
    "state": documents.StateRecord,
    "transition": documents.TransitionRecord,
    "rules-record": documents.RulesRecord,
    "deadletter": documents.DeadLetterHeaders,
    "operation-document": documents.OperationDocument,
    "sleep-mode": documents.SleepModeDocument,
    "policy-answer": documents.PolicyAnswer,
}

MEANINGS: Final = {
    "specversion": "version of CloudEvents",
    "id": "id of the event; it comes back as `event_id`",
    "source": "who sent the event",
    "subject": "the tenant, equal to the record's key; rules have neither",
    "time": "used in place of `occurred_at` if that is absent",
    "type": "type of the event",
    "data": "what happened, or what is requested",
    "breaker": "name of the circuit breaker, which the policy's rules match",
    "instance": "the process that reports; a breaker's claim is one of `breaker@instance`",
    "state": "state of the breaker in that instance",
    "occurred_at": "when it happened, ms; an event with an earlier time than the last accepted one is refused",
    "cause": "why, for people",
    "library": "what reports, for people",
    "operation_id": "id of the command, unique within the tenant; a repeat gets the first outcome",
    "actor": "who sent the command",
    "reason": "why, for people",
    "decision_id": "id of the authorisation's decision",
    "trace_id": "id of the caller's trace",
    "reply_to": "Redis channel on which the caller waits for the outcome",
    "not_after": "the command is refused if its timestamp in the log is later; log time, ms",
    "target": "how deep to sleep",
    "ttl_ms": "for how long, ms; mandatory for an operation and for a pin",
    "cancels": "id of the operation to end",
    "override": "true: set or remove the pin, which decides alone; false: the mode",
    "policy": "the tenant's policy; null returns to that of the rules",
    "RulesDocument.policy": "what a tenant without a policy of its own gets; its floor is `active`",
    "if_version": "the command is refused unless the policy has this version",
    "rules": "the rules of every tenant",
    "due_at": "the deadline of the timer, ms; for people",
    "floor": "the tenant sleeps at least this deep",
    "ceiling": "the tenant sleeps at most this deep, unless it is pinned",
    "enforce": "false: decide and publish, but stay awake",
    "min_sleep_seconds": "a shallower decision waits until the present one is this old",
    "max_ttl_seconds": "longest TTL of a command",
    "ramp_seconds": "how long parameters take to reach their target",
    "deepen": "to a deeper state, seconds",
    "wake": "to a shallower state, seconds",
    "breakers": "rules for breakers; the first rule that matches the name applies, and the built-in rule if none does",
    "match": "pattern of the breaker's name; only `*` and `?` are special, case counts",
    "open": "depth of `open` and `forced_open`",
    "half_open": "depth of `half_open`",
    "quorum": "number of instances that must agree on a depth",
    "lease_seconds": "how long a claim lives without a new event; 0: no lease",
    "schedule": "the four parameter sets, complete and monotone; null: those of the rules",
    "RulesDocument.schedule": "the four parameter sets, complete and monotone; null: the built-in ones",
    "retire_after_seconds": "how long after its last event an idle tenant's record is removed",
}
"""What each field of the events and of the documents that people write means."""


class _Generator(GenerateJsonSchema):
    """Leaves out the titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's own signature
        return False


def json_schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of an event or a document; what people write has its fields described."""
    schema = model.model_json_schema(schema_generator=_Generator)
    for part in (schema, *schema.get("$defs", {}).values()):
        for field, found in part.get("properties", {}).items():
            _spell_bounds(found)
            meaning = MEANINGS.get(f"{part['title']}.{field}", MEANINGS.get(field))
            if meaning is not None and name in (*EVENTS, "policy-document", "rules-document"):
                found.setdefault("description", meaning)
    if name in EVENTS:
        _allow_null(schema)
    return {"$schema": _DIALECT, "$id": f"urn:somabrain-sleep:schema:{name}.v1", **schema}


def _spell_bounds(found: dict[str, Any]) -> None:
    """Spell bounds as JSON Schema does: pydantic leaves its own words where a validator runs before them."""
    for ours, theirs in (("ge", "minimum"), ("gt", "exclusiveMinimum"), ("le", "maximum")):
        if ours in found:
            found[theirs] = found.pop(ours)
    for one in found.get("anyOf", ()):
        _spell_bounds(one)


def _allow_null(schema: dict[str, Any]) -> None:
    """Allow null for the optional fields of an event's data, where it means absent."""
    data = schema["$defs"][schema["properties"]["data"]["$ref"].rpartition("/")[2]]
    for field, schema_of_field in data["properties"].items():
        if field not in data.get("required", ()) and "anyOf" not in schema_of_field:
            outer = {key: schema_of_field.pop(key) for key in ("default", "description") if key in schema_of_field}
            data["properties"][field] = {"anyOf": [schema_of_field, {"type": "null"}], **outer}
