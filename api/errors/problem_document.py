"""The model of problem documents (RFC 9457), the form of every error of the API."""

from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from api.errors.catalog import KINDS
from schemas.domain.document import Document
from schemas.domain.values import Identifier

_CODES: Final[dict[str, Any]] = {"type": "string", "enum": sorted(KINDS)}


class FieldProblem(Document):
    """A field that is wrong."""

    field: Annotated[str, Field(description="path of the field, with dots; or name of the parameter or header")]
    reason: Annotated[str, Field(description="what is wrong, as a sentence")]


class Problem(Document):
    """An error (RFC 9457). Members below `code` are there only where they apply."""

    type: Annotated[str, Field(description="URI of the kind of problem")]
    title: Annotated[str, Field(description="the kind of problem, for people")]
    status: Annotated[int, Field(description="the HTTP status")]
    detail: Annotated[str, Field(description="what happened this time, and what to do")]
    instance: Annotated[str, Field(description="`urn:uuid:` and the request id, which finds the request in the log")]
    code: Annotated[str, WithJsonSchema(_CODES)]
    errors: Annotated[tuple[FieldProblem, ...], Field(description="the fields that are wrong")] = ()
    reasons: Annotated[tuple[str, ...], Field(description="why policy does not allow this")] = ()
    decision_id: Annotated[str, Field(description="id of the decision in the policy's own log")] = ""
    operation_id: Annotated[Identifier, Field(description="id of the command concerned")] = "-"
    violated_policies: Annotated[
        tuple[str, ...], Field(alias="violated-policies", description="names of the rate limits that are exceeded")
    ] = ()
