"""Validation errors in words: pydantic's findings as sentences for the sender of a document."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from schemas.domain.values import IN_WORDS

MOST_FINDINGS: Final = 20
"""The number of wrong fields that an error names."""
_NAME_SHOWN: Final = 64
_INTEGER: Final = "must be an integer"
_NUMBER: Final = "must be a number"
_BOOLEAN: Final = "must be true or false"
_OBJECT: Final = "must be a JSON object"
_ARRAY: Final = "must be a JSON array"
_MISSING: Final = "required, but missing"

Context = Mapping[str, Any]

_WORDS: Final[dict[str, str | Callable[[Context], str]]] = {
    "missing": _MISSING,
    "string_type": "must be a string",
    "string_sub_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "string_too_short": lambda about: f"must have at least {_characters(about['min_length'])}",
    "string_too_long": lambda about: f"must have at most {_characters(about['max_length'])}",
    "string_pattern_mismatch": lambda about: f"must be {IN_WORDS.get(about['pattern'], about['pattern'])}",
    "int_type": _INTEGER,
    "int_from_float": _INTEGER,
    "int_parsing": _INTEGER,
    "int_parsing_size": "must be an integer of fewer digits",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "none_required": "must be null, or absent",
    "literal_error": lambda about: f"must be {_listed(about['expected'])}",
    "enum": lambda about: f"must be {_listed(about['expected'])}",
    "greater_than": lambda about: f"must be above {about['gt']:g}",
    "greater_than_equal": lambda about: f"must be at least {about['ge']:,}",
    "less_than": lambda about: f"must be below {about['lt']:,}",
    "less_than_equal": lambda about: f"must be at most {about['le']:,}",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "list_type": _ARRAY,
    "tuple_type": _ARRAY,
    "too_short": lambda about: f"must have at least {about['min_length']} items",
    "too_long": lambda about: f"must have at most {about['max_length']} items",
    "union_tag_not_found": _MISSING,
    "union_tag_invalid": lambda about: f"must be {_listed(about['expected_tags'])}, not {_shown(about['tag'])}",
    "json_invalid": "must be JSON",
    "recursion_loop": "must not be nested so deeply",
}
"""A sentence for each of pydantic's error types that a sender can cause. It follows the field's name."""


def path_of(finding: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Return the path of a finding's field.

    pydantic reports a missing or unknown discriminator at its object. The path here ends with the field itself.
    """
    path: tuple[str | int, ...] = tuple(finding["loc"])
    if finding["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        return (*path, finding["ctx"]["discriminator"].strip("'"))
    return path


def reason_of(finding: Mapping[str, Any], model: object = None) -> str:
    """Return a finding's sentence.

    Args:
        finding: one of pydantic's `ErrorDetails`.
        model: the expected model, if known; the sentence then names its fields.
    """
    kind = finding["type"]
    if kind == "extra_forbidden":
        *path, name = finding["loc"]
        return unknown("field", str(name), _known_fields(model, path))
    words = _WORDS.get(kind)
    if words is None:
        # Validators of this project raise a sentence.
        return str(finding["msg"]).removeprefix("Value error, ")
    return words if isinstance(words, str) else words(finding.get("ctx", {}))


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Return the sentence for an unknown name, with a suggestion.

    Args:
        what: the kind of name, such as `field` or `parameter`.
        name: the name as sent.
        known: the known names.
    """
    if not known:
        return f"unknown {what}; no {what} is known here"
    by_spelling = {_spelling(each): each for each in known}
    near = get_close_matches(_spelling(name), by_spelling, n=1)
    suggestion = f"did you mean `{by_spelling[near[0]]}`? " if near else ""
    return f"unknown {what}; {suggestion}known: {', '.join(known)}"


def _spelling(name: str) -> str:
    """Return a name without case and separators: `ttlSeconds`, `TTL-seconds` and `ttl_seconds` are equal."""
    return name[:128].lower().replace("_", "").replace("-", "")


def _shown(name: str) -> str:
    """Return a sent name, escaped and cut, since it may be any text."""
    return ascii(name[:_NAME_SHOWN])


def _characters(number: int) -> str:
    return "1 character" if number == 1 else f"{number} characters"


def _listed(expected: str) -> str:
    """Return alternatives without pydantic's quotes: `light`, `deep` or `freeze`."""
    several = "," in expected or " or " in expected
    return ("one of " if several else "") + expected.replace("'", "").replace(" or ", ", ")


def _known_fields(expected: object, path: Iterable[str | int]) -> list[str]:
    """Return the fields of the model at a path, by their JSON names; none if the model is unknown."""
    for step in path:
        expected = _inside(expected, step)
    return [field.alias or name for model in _models(expected) for name, field in model.model_fields.items()]


def _inside(expected: object, step: str | int) -> object:
    """Return the expected type one level deeper, None if unknown."""
    if isinstance(step, int):
        return next((get_args(each)[0] for each in _alternatives(expected) if get_args(each)), None)
    for model in _models(expected):
        for name, field in model.model_fields.items():
            if step in (name, field.alias):
                return field.annotation
    return None


def _models(expected: object) -> list[type[BaseModel]]:
    return [each for each in _alternatives(expected) if isinstance(each, type) and issubclass(each, BaseModel)]


def _alternatives(expected: object) -> list[object]:
    """Return the types of a union, or the type itself."""
    if get_origin(expected) is Annotated:
        return _alternatives(get_args(expected)[0])
    if get_origin(expected) in (Union, UnionType):
        return [each for one in get_args(expected) for each in _alternatives(one)]
    return [expected]
