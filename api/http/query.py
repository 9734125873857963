"""Query parameters: unknown ones are refused, like unknown fields of a body.

To ignore a parameter does harm if it was meant to filter: `?State=freeze` would list every tenant. Paths that need no
token (`/healthz`, `/metrics`, `/openapi.json`, ...) ignore all parameters: health checks, scrapers and caches add some.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from fastapi import Request
from fastapi.dependencies.models import Dependant

from api.errors.problems import invalid_request
from schemas.domain.policy import FieldError
from schemas.wire.validation_errors import MOST_FINDINGS, unknown

_LONGEST_NAME: Final = 128


def require_known_query(request: Request) -> None:
    """Refuse unknown and repeated parameters.

    Raises:
        ProblemError: `invalid_request`, which names each wrong parameter and the known ones.
    """
    if not request.scope["query_string"]:
        return
    known_names = list(dict.fromkeys(_names(request.scope["route"].dependant)))
    counts = Counter(name for name, _ in request.query_params.multi_items())
    wrong = [
        FieldError(
            name[:_LONGEST_NAME] or "(query)",
            "given more than once" if name in known_names else unknown("parameter", name, known_names),
        )
        for name, count in counts.items()
        if name not in known_names or count > 1
    ]
    if wrong:
        raise invalid_request(wrong[:MOST_FINDINGS])


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _names(dependency)
