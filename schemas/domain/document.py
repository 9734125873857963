"""The base of every document whose fields are all known."""

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A document that is never changed, and in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
