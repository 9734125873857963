"""The OpenAPI document: valid, and in the form that the common client generators read."""

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.errors.catalog import KINDS
from api.errors.problems import ProblemError
from api.openapi.document import document_of
from api.openapi.headers import HEADERS
from api.openapi.portable import ENUMERATIONS, components, portable
from api.routes.states import parse_tenants
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.endpoints import ENDPOINTS


@pytest.fixture
def document(api: ApiOverFakes) -> dict[str, Any]:
    """The document of the whole application."""
    return document_of(api.app)


def _walk(value: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of the document, with its path."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from _walk(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _walk(inner, f"{path}/{number}")


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_every_schema_is_one_of_json_schema_2020_12(document: dict[str, Any]) -> None:
    """The dialect of OpenAPI 3.1, with references that lead somewhere."""
    assert document["openapi"] == "3.1.0"
    for path, node in _walk(document):
        if path.endswith("/schema") or re.fullmatch(r"/components/schemas/\w+", path):
            Draft202012Validator.check_schema(node)
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"], path


def test_nothing_is_there_that_generators_misread(document: dict[str, Any]) -> None:
    """No `anyOf`, no default of what may be absent, no empty enumeration, no bound in the words of 3.1 alone."""
    for path, node in _walk(document):
        if "/properties" not in path and "schema" not in path:
            continue
        assert not node.keys() & {"anyOf", "allOf", "const", "exclusiveMinimum", "exclusiveMaximum"}, path
        if not path.endswith("/properties"):
            assert not node.keys() & {"default", "title"}, path
        assert node.get("enum", True), path
        assert None not in node.get("enum", ()), path
        if node.get("type") in ("integer", ["integer", "null"]):
            assert node["format"] == "int64", f"{path}: milliseconds since the epoch fit no 32 bits"


def test_what_may_be_null_says_so_in_one_of_two_forms(document: dict[str, Any]) -> None:
    """A list of types, or a reference or null; and oapi-codegen is told the type."""
    nullable = 0
    for path, node in _walk(document["components"]["schemas"]):
        if "null" in node.get("type", ()):
            if node == {"type": "null"}:
                continue
            nullable += 1
            assert node["type"][1:] == ["null"], path
            assert node["x-go-type"].startswith("*"), path
        if "oneOf" in node:
            nullable += 1
            reference, null = node["oneOf"]
            assert (list(reference), null) == (["$ref"], {"type": "null"}), path
            assert node["x-go-type"] == "*" + reference["$ref"].rpartition("/")[2], path
    assert nullable > 20


def test_every_enumeration_is_a_component_and_no_two_share_a_constant(document: dict[str, Any]) -> None:
    """Go's constants share one name space; `type` and `specversion` of an event have one value each."""
    schemas = document["components"]["schemas"]
    for path, node in _walk(schemas):
        if "enum" in node and len(node["enum"]) > 1:
            assert path.strip("/") in ENUMERATIONS, path
    names = [name for each in ENUMERATIONS for name in schemas[each].get("x-enum-varnames", schemas[each]["enum"])]
    assert len(names) == len(set(names))
    assert schemas["ProblemCode"]["enum"] == sorted(KINDS)
    without = {each for each in ENUMERATIONS if "x-enum-varnames" not in schemas[each]}
    assert without == {"SleepState", "BreakerState", "CauseKind", "OperationStatus", "OperationCode"}, (
        "constants renamed"
    )
    assert schemas["Problem"]["properties"]["code"] == {"$ref": "#/components/schemas/ProblemCode"}


def test_a_new_value_renames_no_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that another enumeration has already: clients have the names in their code."""
    before = components({})
    monkeypatch.setitem(ENUMERATIONS, "CauseKind", (*ENUMERATIONS["CauseKind"], "completed", "closed"))
    after = components({})
    assert {name for name in before if before[name] != after[name]} == {"CauseKind"}
    assert after["CauseKind"]["enum"][: len(before["CauseKind"]["enum"])] == before["CauseKind"]["enum"]
    assert "x-enum-varnames" not in after["CauseKind"]


def test_operation_ids_read_well(document: dict[str, Any]) -> None:
    """A verb and what it is done to, in lowerCamelCase, once each."""
    ids = [operation["operationId"] for _, operation in _operations(document)]
    assert len(ids) == len(set(ids))
    assert set(ids) == {endpoint.operation_id for endpoint in ENDPOINTS}
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", each) for each in ids)
    assert {"startSleep", "getSleep", "cancelSleep", "setSleepMode", "replaceSleepPolicy", "listTenants"} <= set(ids)


def test_every_answer_has_a_schema_and_its_headers(document: dict[str, Any]) -> None:
    """Those that a client acts on, as the routes set them; the unit tests hold each answer against this."""
    for name, operation in _operations(document):
        for status, answer in operation["responses"].items():
            [media] = answer["content"].values()
            assert media["schema"], name
            headers = answer["headers"]
            assert headers["X-Request-Id"]["required"], name
            required = {header for header, each in headers.items() if each["required"]}
            assert ("WWW-Authenticate" in required) == (status == "401"), name
            assert ("RateLimit" in headers) == ("RateLimit-Policy" in headers) == (status != "401"), name
            if status == "429":
                assert "Retry-After" in required, name
        assert operation["summary"], name
    paths = document["paths"]
    started = paths["/api/util/sleep"]["post"]["responses"]
    assert {"Location", "Retry-After", "Preference-Applied"} <= started["202"]["headers"].keys()
    assert "Location" in started["409"]["headers"]
    for method in ("get", "put", "delete"):
        assert paths["/api/brain/sleep_policy"][method]["responses"]["200"]["headers"]["ETag"]["required"]
    used = {header for _, each in _walk(paths) for header in each.get("headers", ())}
    assert used == HEADERS.keys()


def test_a_policy_is_read_and_written_in_one_form(document: dict[str, Any]) -> None:
    """So that a client changes what it read; what may be absent in one is not required of the other."""
    schemas = document["components"]["schemas"]
    reference = {"$ref": "#/components/schemas/PolicyDocument"}
    assert schemas["PolicyAnswer"]["properties"]["policy"]["$ref"] == reference["$ref"]
    body = document["paths"]["/api/brain/sleep_policy"]["put"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == reference
    assert "required" not in schemas["PolicyDocument"]
    assert "Default: 3600." in schemas["PolicyDocument"]["properties"]["max_ttl_seconds"]["description"]


def test_requests_are_closed_and_answers_are_open(document: dict[str, Any]) -> None:
    """An unknown field is refused; a client that was generated today takes an answer with a new field tomorrow."""
    schemas = document["components"]["schemas"]
    for name in ("SleepBody", "ModeBody", "PolicyDocument", "BreakerRuleDocument", "RampSeconds", "ScheduleDocument"):
        assert schemas[name]["additionalProperties"] is False
    for name in ("OperationDocument", "SleepModeDocument", "TenantPage", "Problem", "CauseDocument"):
        assert "additionalProperties" not in schemas[name]


def test_parameters_are_never_null(document: dict[str, Any]) -> None:
    """Absent is absent."""
    for name, operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            assert "null" not in json.dumps(parameter["schema"]), name


def test_a_union_that_no_generator_reads_is_noticed() -> None:
    """When the document is made, and not by somebody's client."""
    with pytest.raises(ValueError, match="no generator reads a union"):
        portable({"anyOf": [{"type": "string"}, {"type": "integer"}]})


def test_an_enumeration_without_a_name_is_noticed() -> None:
    """Else each client would make one of its own for every field; a constant needs none."""
    with pytest.raises(ValueError, match=r"the enumeration 'a', 'b' has no name for clients: name it in ENUMERATIONS"):
        portable({"type": "object", "properties": {"x": {"enum": ["a", "b"], "type": "string"}}})
    assert portable({"const": "a", "type": "string"}) == {"enum": ["a"], "type": "string"}


def test_bounds_and_defaults_are_kept_in_other_words() -> None:
    """What is above 0 is at least the smallest number; what has a default says so."""
    made = components(
        {
            "A": {
                "properties": {"x": {"type": "number", "gt": 0, "le": 5, "default": 1.5}, "y": {"const": "z"}},
                "type": "object",
            }
        }
    )["A"]
    assert made["properties"]["x"] == {
        "type": "number",
        "format": "double",
        "minimum": 5e-324,
        "maximum": 5,
        "description": "Default: 1.5.",
    }
    assert made["properties"]["y"]["enum"] == ["z"]


@pytest.mark.parametrize(
    ("names", "valid"),
    [
        ("acme", True),
        ("acme,globex,acme", True),
        (",".join(["a"] * 200), True),
        ("", False),
        ("acme,", False),
        ("a b", False),
        ("a" * 129, False),
    ],
)
def test_a_list_of_tenants_is_what_the_document_says(document: dict[str, Any], names: str, *, valid: bool) -> None:
    """The stream of states takes no other, and a generated client can check it."""
    parameters = document["paths"]["/api/states/events"]["get"]["parameters"]
    schema = next(parameter["schema"] for parameter in parameters if parameter["name"] == "tenants")
    assert Draft202012Validator(schema).is_valid(names) is valid
    with nullcontext() if valid else pytest.raises(ProblemError):
        parse_tenants(names)
