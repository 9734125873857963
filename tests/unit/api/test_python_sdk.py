"""The API and the Kafka topics accept every event that the Python SDK writes."""

import httpx
import pytest

from schemas.kafka.source_record import Failure
from schemas.wire.cloudevents import decode
from schemas.wire.events import BreakerEvent
from tests.support.python_sdk import Written, over_http, over_kafka
from tests.support.records import Source
from tests.support.times import T
from tests.unit.api.application import ApiOverFakes
from worker.ingress.normalise import normalise

URL = "/api/breakers/events"


@pytest.mark.parametrize(("tenant", "message"), over_http("sdk").items(), ids=over_http("sdk"))
async def test_an_event_over_http_is_taken(api: ApiOverFakes, tenant: str, message: Written) -> None:
    """With the headers that the SDK gives, and no other."""
    request = api.client.build_request("POST", URL, content=message.body, headers=message.headers)
    response: httpx.Response = await api.client.send(request)
    assert response.status_code == 202, response.text
    [event] = api.log.events
    assert isinstance(event, BreakerEvent)
    assert (event.subject, event.data.breaker, event.data.state) == (tenant, "payments", "half_open")


@pytest.mark.parametrize(("tenant", "message"), over_kafka("sdk").items(), ids=over_kafka("sdk"))
def test_an_event_over_kafka_is_taken(tenant: str, message: Written) -> None:
    """By ingress, and by the log where its key is the tenant."""
    headers = list(message.headers.items())
    passed = normalise(Source(0, T, None, message.body, headers, "sleep.breakers"))
    assert not isinstance(passed, Failure), passed
    assert [each.tenant for each in passed.events] == [tenant]
    event = decode(tenant.encode(), message.body, headers)
    assert isinstance(event, BreakerEvent)
    assert event.data.state == "half_open"
