"""The breaker event that emitters of these tests send."""

from typing import Final

DATA: Final = {"breaker": "payments", "instance": "pod-1", "state": "open", "occurred_at": 1_795_334_837_000}
EVENT: Final = {
    "specversion": "1.0",
    "id": "7f0c",
    "source": "urn:shop:pod-1",
    "type": "sleep.breaker.v1",
    "subject": "acme",
    "time": "2026-11-22T08:07:17Z",
    "data": DATA,
}
