"""Writes what is generated from the code: the JSON Schemas, and the pages of `docs/reference`.

`python -m schemas.generate` writes; with `--check` it changes nothing, names the files that are stale and
exits with status 1. The output is a function of the code alone.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from inspect import getdoc
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from schemas import documents, events, policy, settings, values
from schemas.claim import CauseKind, Source
from schemas.policy import BUILT_IN_RULES
from schemas.schedule import BUILT_IN_SCHEDULE, PARAMETERS
from schemas.state import LABELS, BreakerState

ROOT: Final = Path(__file__).resolve().parent.parent
SCHEMAS: Final = "schemas/json"
PAGES: Final = "docs/reference"
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
    "time": "stands in for `occurred_at` where that is absent",
    "type": "type of the event",
    "data": "what happened, or what is asked for",
    "breaker": "name of the circuit breaker, which the policy's rules match",
    "instance": "the process that reports; a breaker's claim is one of `breaker@instance`",
    "state": "state of the breaker in that instance",
    "occurred_at": "when it happened, ms; an earlier one than the last accepted is refused",
    "cause": "why, for people",
    "library": "what reports, for people",
    "operation_id": "id of the command, unique within the tenant; a repeat gets the first outcome",
    "actor": "who asked",
    "reason": "why, for people",
    "decision_id": "id of the authorisation's decision",
    "trace_id": "id of the caller's trace",
    "reply_to": "Redis channel on which the caller waits for the outcome",
    "not_after": "refused when applied later than this, ms",
    "target": "how deep to sleep",
    "ttl_ms": "for how long, ms; mandatory for an operation and for a pin",
    "cancels": "id of the operation to end",
    "override": "set or remove the pin, which alone decides, and not the mode",
    "policy": "the tenant's policy; null returns to that of the rules",
    "RulesDocument.policy": "what a tenant without a policy of its own gets; its floor is `active`",
    "if_version": "refused unless the policy has this version",
    "rules": "the rules of every tenant",
    "due_at": "what the timer was set for, ms; for people",
    "floor": "the tenant sleeps at least this deep",
    "ceiling": "the tenant sleeps at most this deep, pins aside",
    "enforce": "false: decide and publish, but stay awake",
    "min_sleep_seconds": "a shallower decision waits until the present one is this old",
    "max_ttl_seconds": "longest TTL of a command",
    "ramp_seconds": "how long parameters take to reach their target",
    "deepen": "on the way down",
    "wake": "on the way up",
    "breakers": "what breakers mean; the first rule that matches a name holds",
    "match": "pattern of the breaker's name; only `*` and `?` are special, case counts",
    "open": "depth of `open` and `forced_open`",
    "half_open": "depth of `half_open`",
    "quorum": "number of instances that must agree on a depth",
    "lease_seconds": "how long a claim lives without news; 0: no end of its own",
    "schedule": "the four parameter sets, complete and monotone; null: those of the rules",
    "RulesDocument.schedule": "the four parameter sets, complete and monotone; null: the built-in ones",
    "retire_after_seconds": "how long after its last news an idle tenant's record goes",
}
"""What each field of the events and of the documents that people write means."""

_SOURCES: Final[dict[Source, tuple[str, str, str]]] = {
    "breaker": ("`name@instance`", "a breaker event", "closed, or its lease runs out"),
    "operation": ("operation id", "`POST /api/util/sleep`", "its TTL (mandatory), or a cancel"),
    "mode": ("`mode`", "`POST /api/brain/sleep_mode`", "mode `active`, or its TTL if it has one"),
    "pin": (
        "`pin`",
        "sleep_mode with `override: true`",
        "its TTL (mandatory), or mode `active` with override",
    ),
}
_CAUSES: Final[dict[CauseKind, str]] = {
    "breaker": "a breaker event",
    "operation": "a utility sleep",
    "cancel": "the cancel of a utility sleep",
    "mode": "a mode set or removed",
    "pin": "a pin set or removed",
    "policy": "another policy of the tenant",
    "rules": "other rules of the platform",
    "expired": "a claim's lease or TTL ran out",
    "pin_ended": "a pin's TTL ran out",
    "hold_ended": "the minimum sleep is over",
}


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
    for field, found in data["properties"].items():
        if field not in data.get("required", ()) and "anyOf" not in found:
            kept = {key: found.pop(key) for key in ("default", "description") if key in found}
            data["properties"][field] = {"anyOf": [found, {"type": "null"}], **kept}


def generated() -> dict[str, str]:
    """Return every generated file's text by its path from the project's root."""
    files = {
        f"{SCHEMAS}/{name}.v1.schema.json": json.dumps(json_schema(name, model), indent=2) + "\n"
        for name, model in (EVENTS | DOCUMENTS).items()
    }
    pages = {
        "settings": settings_page(),
        "events": _fields_page("Events", "Every record of the events topic is one of these CloudEvents 1.0.", EVENTS),
        "records": _fields_page(
            "Records and documents", "What people write, the topics carry and HTTP answers.", DOCUMENTS
        ),
        "states": states_page(),
    }
    notice = "<!-- Generated by `python -m schemas.generate`; change the code, not this page. -->"
    return files | {f"{PAGES}/{name}.md": f"{notice}\n\n{text}" for name, text in pages.items()}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

    names = list(head)
    return line(names) + "|" + " --- |" * len(names) + "\n" + "".join(map(line, rows))


def settings_page() -> str:
    """Return the page of all settings; a secret's value is never in it."""
    rows = [
        (f"`SLEEP_{name.upper()}`", _default(field), field.description or "")
        for name, field in settings.Settings.model_fields.items()
    ]
    return "# Settings\n\nEnvironment variables, read once at the start. A wrong one is refused by name.\n\n" + _table(
        ("variable", "default", "meaning"), rows
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    if field.default is None:
        return "(none)"
    if isinstance(field.default, SecretStr):
        return "(masked)"
    return f"`{json.dumps(field.default) if isinstance(field.default, dict) else field.default}`"


def _fields_page(title: str, intro: str, models: dict[str, type[BaseModel]]) -> str:
    sections = [f"# {title}\n\n{intro} Times are integer milliseconds since the epoch.\n"]
    shown: set[str] = set()
    for name, model in models.items():
        schema = json_schema(name, model)
        sections.append(f"## {name}.v1\n\n{getdoc(model)}\n\n{_fields_table(schema)}")
        for part, found in sorted(schema.get("$defs", {}).items()):
            if part not in shown:
                shown.add(part)
                sections.append(f"### {part}\n\n{found.get('description', '')}\n\n{_fields_table(found)}")
    return "\n".join(sections)


def _fields_table(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"`{field}`",
            _type_of(found),
            "yes" if field in required else _optional(found),
            found.get("description", ""),
        )
        for field, found in schema["properties"].items()
    ]
    return _table(("field", "type", "required", "meaning"), rows)


def _optional(found: dict[str, Any]) -> str:
    default = found.get("default")
    return "no" if default is None or isinstance(default, dict | list) else f"no, `{json.dumps(default)}`"


def _type_of(found: dict[str, Any]) -> str:
    """Return a field's type and limits in words."""
    if "$ref" in found:
        part = found["$ref"].rpartition("/")[2]
        return f"[{part}](#{part.lower()})"
    if "anyOf" in found:
        return " or ".join(_type_of(one) for one in found["anyOf"])
    if "const" in found or "enum" in found:
        return ", ".join(f"`{value}`" for value in found.get("enum", [found.get("const")]))
    if found.get("type") == "array":
        most = f", at most {found['maxItems']}" if "maxItems" in found else ""
        return f"list of {_type_of(found['items'])}{most}"
    return "".join((found.get("type", "any"), *_limits(found)))


def _limits(found: dict[str, Any]) -> Iterator[str]:
    if "exclusiveMinimum" in found:
        yield f", above {found['exclusiveMinimum']:,.0f}"
    elif "minimum" in found:
        yield f", from {found['minimum']:,.0f}"
    if "maximum" in found:
        yield f", to {found['maximum']:,.0f}"
    if "minLength" in found:
        yield f", at least {found['minLength']}"
    if "maxLength" in found:
        yield f", at most {found['maxLength']} characters"
    if "pattern" in found:
        yield f", {values.IN_WORDS[found['pattern']]}"


_STATES_INTRO: Final = """# States

A tenant is `active`, `light`, `deep` or `freeze`, from awake to deepest. Its state is the deepest of its
claims, raised to the policy's floor and cut to its ceiling and that of the rules; a pin alone decides while
it lives. Any state may follow any other.
"""
_BREAKERS_INTRO: Final = """## What a breaker's state means

The first rule of the policy that matches the breaker's name gives the depths `open` and `half_open`; the
others always mean `active`. Under the built-in rule:
"""


def states_page() -> str:
    """Return the page of the states: what breakers mean, what claims there are, what each depth changes."""
    rule = BUILT_IN_RULES.policy.rule_of("any")
    arrows = "".join(f"    {state} --> {LABELS[rule.means[state]]}\n" for state in get_args(BreakerState))
    depths = "".join(f"    {label}([{label}])\n" for label in LABELS)
    shifts = "".join(
        f"    {shallow} --> {deep}: deeper claim, pin, floor\n    {deep} --> {shallow}: claim or pin ended, ceiling\n"
        for place, shallow in enumerate(LABELS)
        for deep in LABELS[place + 1 :]
    )
    means = [(f"`{state}`", _from_rule(state), f"`{LABELS[rule.means[state]]}`") for state in get_args(BreakerState)]
    parameters = [
        (f"`{label}`", *(f"{value:g}" for value in values_))
        for label, values_ in zip(LABELS, BUILT_IN_SCHEDULE, strict=True)
    ]
    parts = (
        _STATES_INTRO,
        f"```mermaid\nstateDiagram-v2\n    [*] --> active\n{shifts}```\n",
        _BREAKERS_INTRO,
        f"```mermaid\nflowchart LR\n{depths}{arrows}```\n",
        _table(("breaker state", "depth", "built in"), means),
        "## Claims\n",
        _table(("source", "key", "set by", "ends"), ((f"`{name}`", *_SOURCES[name]) for name in get_args(Source))),
        "## Causes of a transition\n",
        _table(("kind", "what happened"), ((f"`{kind}`", _CAUSES[kind]) for kind in get_args(CauseKind))),
        "## Parameters\n\nThe built-in schedule; a policy or the rules may give another.\n",
        _table(("", *PARAMETERS), parameters),
    )
    return "\n".join(parts)


def _from_rule(state: BreakerState) -> str:
    """Tell which field of a rule gives this breaker state its depth, by trying."""
    probe = policy.BreakerRuleDocument(match="*", open="freeze", half_open="deep")
    return {"freeze": "the rule's `open`", "deep": "the rule's `half_open`", "active": "`active`"}[
        LABELS[policy.BreakerRule.of(probe).means[state]]
    ]


def stale(root: Path) -> list[str]:
    """Return the generated files under `root` that are missing, out of date, or no longer generated."""
    wanted = generated()
    strays = {path.relative_to(root).as_posix() for path in (root / SCHEMAS).glob("*.schema.json")} - wanted.keys()
    changed = {
        name
        for name, text in wanted.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    }
    return sorted(strays | changed)


def write(root: Path) -> list[str]:
    """Bring the generated files under `root` up to date and return those that changed."""
    wanted = generated()
    changed = stale(root)
    for name in changed:
        path = root / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], encoding="utf-8")
        else:
            path.unlink()
    return changed


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check, say which files were concerned, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a file is stale")
    check = parser.parse_args(arguments).check
    concerned = stale(root) if check else write(root)
    if check and concerned:
        sys.stderr.write("stale, run `make generate`:\n" + "".join(f"  {name}\n" for name in concerned))
        return 1
    sys.stdout.write("".join(f"written: {name}\n" for name in concerned))
    return 0


if __name__ == "__main__":
    sys.exit(main())
