"""JSON Schema in the form that the common client generators read.

Few generators read pydantic's own form. The form that is written here means the same:

- An enumeration is one named component, so that a client gets one type for it.
- A nullable value is `type: [X, "null"]`, or `oneOf` a reference and null: never `anyOf`.
- An optional field has no `default`: generators would make it required, or send the default.
- A number has a `format` (`int64`, `double`): milliseconds since the epoch need more than 32 bits.
- An exclusive minimum becomes the smallest number above it: OpenAPI 3.0 spells `exclusiveMinimum` in another way.
- `x-enum-varnames` puts an enumeration's name before its constants, since all Go constants share one namespace. The set
  of enumerations without it is fixed, so that a new value renames no other constant.
- `x-go-type` is for oapi-codegen, which has no nullable types.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from api.errors.catalog import KINDS
from schemas.budgets import Action
from schemas.domain.claim import CauseKind, Source
from schemas.domain.explanation import CeilingOwner, DecidedBy
from schemas.domain.state import BreakerState, StateName
from schemas.wire.events import SleepingState
from schemas.wire.operation import CommandType, RefusalCode, Status
from schemas.wire.transition import RowKind

REF: Final = "#/components/schemas/"
ENUMERATIONS: Final[dict[str, tuple[str, ...]]] = {
    "SleepState": get_args(StateName),
    "SleepingState": get_args(SleepingState),
    "BreakerState": get_args(BreakerState),
    "CauseKind": get_args(CauseKind),
    "ClaimSource": get_args(Source),
    "CeilingOwner": get_args(CeilingOwner),
    "CommandType": get_args(CommandType),
    "DecisionKind": get_args(DecidedBy),
    "OperationStatus": get_args(Status),
    # Why an operation was refused, or that nobody knows its outcome.
    "OperationCode": (*get_args(RefusalCode), "outcome_unknown"),
    "RefusalCode": get_args(RefusalCode),
    "RowKind": get_args(RowKind),
    "PermissionAction": get_args(Action),
    "ProblemCode": tuple(sorted(KINDS)),
}
"""Each enumeration of the API by its name in clients."""

_WITHOUT_PREFIX: Final = frozenset({"SleepState", "BreakerState", "CauseKind", "OperationStatus", "OperationCode"})
"""Enumerations whose constants are their values alone. Clients have the names in their code.

No enumeration joins or leaves this set; values may be added.
"""
_NAMES: Final = {values: name for name, values in ENUMERATIONS.items()}
_WORD: Final = re.compile("(?<=[a-z])(?=[A-Z])")
_SMALLEST: Final = 5e-324
"""The smallest double above 0."""
_FORMATS: Final = {"integer": "int64", "number": "double"}
_GO: Final = {"string": "string", "boolean": "bool", "integer": "int64", "number": "float64"}
_BOUNDS: Final = (("ge", "minimum"), ("gt", "exclusiveMinimum"), ("le", "maximum"), ("lt", "exclusiveMaximum"))
# Generators ignore or misread these.
_DROPPED: Final = ("title", "default")


def components(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return pydantic's definitions in portable form, with the enumerations that they use."""
    portable_schemas: dict[str, Any] = {name: portable(shape) for name, shape in definitions.items()}
    for name, values in ENUMERATIONS.items():
        portable_schemas[name] = {"type": "string", "enum": [*values]}
        if name not in _WITHOUT_PREFIX:
            prefix = _WORD.sub("_", name)
            portable_schemas[name]["x-enum-varnames"] = [f"{prefix}_{value}".upper() for value in values]
    return dict(sorted(portable_schemas.items()))


def portable(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in portable form.

    Raises:
        ValueError: for an enumeration without a name, and for a union that no generator reads.
    """
    schema = {key: value for key, value in shape.items() if key not in _DROPPED}
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if len(schema.get("enum", ())) > 1:
        return _with_description({"$ref": REF + _name_of(tuple(schema["enum"]))}, schema)
    _spell_bounds(schema)
    if "anyOf" in schema:
        return _nullable(schema)
    if schema.get("type") in _FORMATS:
        schema.setdefault("format", _FORMATS[schema["type"]])
    if "items" in schema:
        schema["items"] = portable(schema["items"])
    if "properties" in schema:
        required = schema.get("required", ())
        schema["properties"] = {
            field: _property(property_, optional=field not in required)
            for field, property_ in schema["properties"].items()
        }
    return schema


def _property(shape: Mapping[str, Any], *, optional: bool) -> dict[str, Any]:
    schema = portable(shape)
    default = shape.get("default")
    if isinstance(default, str | int | float) and default not in ("", "-"):
        default_text = str(default).lower() if isinstance(default, bool) else f"{default}"
        schema["description"] = f"{schema.get('description', '').rstrip('.')}. Default: {default_text}.".removeprefix(
            ". "
        )
    if optional and "x-go-type" in schema:
        schema["x-go-type-skip-optional-pointer"] = True
    return schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a nullable schema without `anyOf`. Other unions are not used here.

    Raises:
        ValueError: for another union.
    """
    alternatives = [alternative for alternative in schema.pop("anyOf") if alternative != {"type": "null"}]
    if len(alternatives) != 1:
        # The union of refusal codes and `outcome_unknown`: an enumeration in parts.
        if not all("enum" in alternative or "const" in alternative for alternative in alternatives):
            msg = f"no generator reads a union of {alternatives}"
            raise ValueError(msg)
        values = [value for part in alternatives for value in part.get("enum") or [part["const"]]]
        alternatives = [{"enum": values}]
    alternative = portable(alternatives[0])
    if "$ref" in alternative:
        name = alternative["$ref"].rpartition("/")[2]
        reference = {"$ref": alternative["$ref"]}
        return _with_description(
            {"oneOf": [reference, {"type": "null"}], "x-go-type": f"*{name}"}, alternative | schema
        )
    return alternative | schema | {"type": [alternative["type"], "null"], "x-go-type": f"*{_GO[alternative['type']]}"}


def _name_of(values: tuple[str, ...]) -> str:
    if values not in _NAMES:
        msg = f"the enumeration {', '.join(map(repr, values))} has no name for clients: name it in ENUMERATIONS"
        raise ValueError(msg)
    return _NAMES[values]


def _with_description(schema: dict[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    return schema | ({"description": source["description"]} if "description" in source else {})


def _spell_bounds(schema: dict[str, Any]) -> None:
    """Rename bounds as in JSON Schema. pydantic keeps its own names for a field with a validator before them."""
    for pydantic_name, json_schema_name in _BOUNDS:
        if pydantic_name in schema:
            schema[json_schema_name] = schema.pop(pydantic_name)
    exclusive_minimum = schema.pop("exclusiveMinimum", None)
    if exclusive_minimum is not None:
        schema["minimum"] = _SMALLEST if exclusive_minimum == 0 else exclusive_minimum
