"""The examples beside the JSON Schemas: each is what its folder says, to the code and to a JSON Schema.

The name of an invalid example says what is wrong with it. Where only code can express the rule, the example
is listed here with the reason, and the JSON Schema must accept it: so the list stays true.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from pydantic_core import from_json

from docs.generator.files import ROOT, SCHEMAS
from docs.generator.json_schemas import DOCUMENTS, EVENTS, json_schema
from schemas.domain.policy import InvalidDocumentError, parse_policy, parse_rules
from schemas.wire.cloudevents import UndecodableError, parse

FOLDER = ROOT / SCHEMAS / "examples"
MODELS = EVENTS | DOCUMENTS
EXAMPLES = sorted(FOLDER.rglob("*.json"))
VALIDATORS = {name: Draft202012Validator(json_schema(name, model)) for name, model in MODELS.items()}

NOT_JSON = "the decoder refuses it, before any schema"
A_DOUBLE = "JSON Schema knows no limit to the size of a number"
DECIMALS = "multipleOf is computed in binary, where 0.015 is no multiple of 0.001"
CALENDAR = "a pattern knows no calendar"
COMPARES = "JSON Schema does not compare one field with another"
LINE_END = "`$` means the very end in JSON Schema, and Python's validator stops before a last line break"

CODE_ONLY = {
    "breaker.v1/not-json": NOT_JSON,
    "breaker.v1/occurred-at-nan": NOT_JSON,
    "breaker.v1/occurred-at-infinite": NOT_JSON,
    "breaker.v1/cause-with-lone-surrogate": NOT_JSON,
    "breaker.v1/nested-too-deep": NOT_JSON,
    "breaker.v1/occurred-at-integer-fits-no-double": A_DOUBLE,
    "breaker.v1/time-leap-day-of-no-leap-year": CALENDAR,
    "breaker.v1/cause-with-line-break-at-its-end": LINE_END,
    "policy-document.v1/min-sleep-nan": NOT_JSON,
    "policy-document.v1/floor-above-ceiling": COMPARES,
    "policy-document.v1/min-sleep-four-decimals": DECIMALS,
    "policy-document.v1/max-ttl-below-a-millisecond": DECIMALS,
    "policy-document.v1/ramp-wake-four-decimals": DECIMALS,
    "policy-document.v1/lease-four-decimals": DECIMALS,
    "policy-document.v1/schedule-not-monotone": COMPARES,
    "policy-document.v1/schedule-not-monotone-either-way": COMPARES,
    "rules-document.v1/policy-floor-not-active": COMPARES,
    "rules-document.v1/policy-floor-above-ceiling": COMPARES,
    "rules-document.v1/retire-after-four-decimals": DECIMALS,
    "rules-document.v1/schedule-not-monotone": COMPARES,
}
"""Invalid examples that a JSON Schema cannot refuse, and why."""

CODES = {
    "breaker.v1/type-unknown": "unknown_type",
    "breaker.v1/not-json": "undecodable",
    "breaker.v1/occurred-at-nan": "undecodable",
    "breaker.v1/occurred-at-infinite": "undecodable",
    "breaker.v1/cause-with-lone-surrogate": "undecodable",
    "breaker.v1/nested-too-deep": "undecodable",
}
"""Codes of the dead letters that invalid events become, where it is not `invalid_event`."""


def schema_of(path: Path) -> str:
    """Return the name of the schema that an example belongs to."""
    return path.relative_to(FOLDER).parts[0].removesuffix(".v1")


def rule_of(path: Path) -> str:
    """Return an example's name: folder of the schema, and what is wrong."""
    return f"{path.relative_to(FOLDER).parts[0]}/{path.stem}"


def read(path: Path) -> None:
    """Read an example as the project does."""
    name, text = schema_of(path), path.read_bytes()
    if name in EVENTS:
        parse(text)
        return
    document = from_json(text, allow_inf_nan=False)
    if name == "policy-document":
        parse_policy(document)
    elif name == "rules-document":
        parse_rules(1, document)
    else:
        DOCUMENTS[name].model_validate(document)


def accepted(path: Path) -> bool:
    """Tell whether the example's JSON Schema accepts it."""
    document: Any = json.loads(path.read_bytes())
    return VALIDATORS[schema_of(path)].is_valid(document)


def of_kind(kind: str) -> list[Any]:
    """Return the examples of one kind, each a parameter with a name that people can find."""
    return [pytest.param(path, id=rule_of(path)) for path in EXAMPLES if path.parent.name == kind]


@pytest.mark.parametrize("path", of_kind("valid"))
def test_a_valid_example_is_read_by_the_code_and_accepted_by_its_schema(path: Path) -> None:
    """Both agree."""
    read(path)
    assert accepted(path)


@pytest.mark.parametrize("path", of_kind("invalid"))
def test_an_invalid_example_is_refused_by_the_code(path: Path) -> None:
    """An event with the code of its dead letter, a document with the field."""
    with pytest.raises((UndecodableError, InvalidDocumentError, ValidationError, ValueError)) as refused:
        read(path)
    if isinstance(refused.value, UndecodableError):
        assert refused.value.code == CODES.get(rule_of(path), "invalid_event")
    elif isinstance(refused.value, InvalidDocumentError):
        assert all(error.field and error.reason for error in refused.value.errors)


@pytest.mark.parametrize("path", of_kind("invalid"))
def test_an_invalid_example_is_refused_by_a_schema_that_can_express_its_rule(path: Path) -> None:
    """And where it cannot, the reason is on the list."""
    if CODE_ONLY.get(rule_of(path)) is NOT_JSON:
        with pytest.raises(ValueError, match=r"."):
            from_json(path.read_bytes(), allow_inf_nan=False)
    else:
        assert accepted(path) == (rule_of(path) in CODE_ONLY)


@pytest.mark.parametrize("name", MODELS)
def test_every_schema_has_a_valid_and_an_invalid_example(name: str) -> None:
    """A reader learns most from these."""
    kinds = {path.parent.name for path in EXAMPLES if schema_of(path) == name}
    assert kinds == {"valid", "invalid"}


def test_every_example_belongs_to_a_schema_and_every_reason_to_an_example() -> None:
    """Nothing is left over."""
    assert {schema_of(path) for path in EXAMPLES} == set(MODELS)
    assert {*CODE_ONLY, *CODES} <= {rule_of(path) for path in EXAMPLES}
