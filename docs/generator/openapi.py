"""The OpenAPI document of the API, which also serves it under `/openapi.json`."""

from typing import Any

from structlog.testing import capture_logs

from api.app import create_app, wire
from api.openapi.document import document_of
from docs.generator.an_installation import AN_INSTALLATION


def openapi() -> dict[str, Any]:
    """Return the document."""
    with capture_logs():  # The API says how it was wired.
        return document_of(create_app(wire(AN_INSTALLATION)))
