"""Every endpoint that needs a token, taken from the application's routes, so that a new one is tested without a word.

One that takes a body needs an example here.
"""

from typing import Any, Final, NamedTuple

from fastapi.routing import APIRoute

from api.app import ROUTERS
from api.errors.problems import only_reads
from api.http.dependencies import MAY_WAKE
from api.openapi.document import StreamAnswer

BODIES: Final[dict[str, Any]] = {
    "startSleep": {"target_state": "light", "ttl_seconds": 1},
    "setSleepMode": {"target_state": "light"},
    "replaceSleepPolicy": {},
    "previewSleepPolicy": {},
    "publishBreakerEvents": {
        "specversion": "1.0",
        "id": "7f0c",
        "source": "urn:shop:pod-1",
        "type": "sleep.breaker.v1",
        "subject": "acme",
        "time": "2026-11-22T08:07:17Z",
        "data": {"breaker": "payments", "instance": "pod-1", "state": "open"},
    },
    "publishBreakerReports": {"version": "4", "alerts": []},
}
"""A good body of each operation that takes one, by its operation id."""


class Endpoint(NamedTuple):
    """One operation; `path` names the operation `op-1`, and `template` is the path as routes have it."""

    operation_id: str
    method: str
    path: str
    template: str
    reads: bool
    streams: bool
    body: Any

    def __str__(self) -> str:
        """Return what tests are called by."""
        return f"{self.method} {self.template}"

    @property
    def may_wake(self) -> bool:
        """Whether it wakes a tenant, always or with mode `active`."""
        return self.operation_id in MAY_WAKE


def _endpoint(route: APIRoute) -> Endpoint:
    [method] = list(route.methods or ())
    operation_id = str(route.operation_id)
    takes = "requestBody" in (route.openapi_extra or {}) or route.body_field is not None
    assert takes == (operation_id in BODIES), f"{operation_id}: BODIES has an example of each body, and no other"
    return Endpoint(
        operation_id=operation_id,
        method=method,
        path=route.path.format(operation_id="op-1", format="alertmanager"),
        template=route.path,
        reads=only_reads(method, route.endpoint),
        streams=route.response_class is StreamAnswer,
        body=BODIES.get(operation_id),
    )


ENDPOINTS: Final = [
    _endpoint(route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and route.include_in_schema and router.include_in_schema
]
"""All of them, in the order of the application's routes."""
