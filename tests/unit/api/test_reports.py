"""`POST /api/breakers/{format}`: reports of libraries, with the rules of `/api/breakers/events`."""

import json
from typing import Any, Final

import httpx
import pytest
from structlog.testing import capture_logs

from api.adapters.dependency import UnavailableError
from schemas.formats.settings import HTTP_FORMATS, HttpFormat, http_formats
from schemas.wire.cloudevents import MAX_BYTES
from schemas.wire.events import BreakerEvent
from tests.support.emitted import emitted
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes

HEADERS: Final = {"X-Breaker-Instance": "pod-1", "X-Breaker-Name": "gobreaker:state:payments"}
WEBHOOK: Final = emitted("alertmanager")[0].document


async def send(api: ApiOverFakes, format_: str, content: object, **headers: str) -> httpx.Response:
    """Post a document as it is."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    sent = {"Content-Type": "application/json", **HEADERS, **headers}
    return await api.client.post(f"/api/breakers/{format_}", content=body, headers=sent)


def published(api: ApiOverFakes) -> list[tuple[str, str, str, str]]:
    """Return tenant, breaker, instance and state of each published event."""
    events = [event for event in api.log.events if isinstance(event, BreakerEvent)]
    return [(event.subject, event.data.breaker, event.data.instance, event.data.state) for event in events]


def skipped(api: ApiOverFakes) -> list[str]:
    """Return the lines of the metric of what made no event."""
    lines = api.services.metrics.render().decode().splitlines()
    return [line for line in lines if line.startswith("sleep_api_reports_skipped_total")]


@pytest.mark.parametrize("format_", HTTP_FORMATS)
async def test_what_each_library_emits_is_published(api: ApiOverFakes, format_: str) -> None:
    """For the tenant of the token, or of the label."""
    for each in emitted(format_):
        assert (await send(api, format_, each.value)).status_code == 202
    assert ("acme", "payments", "pod-1", "open") in published(api) or format_ in ("alertmanager", "envoy", "gobreaker")
    assert {state for *_, state in published(api)} >= {"open", "closed"}
    assert {event.source for event in api.log.events} == {f"/api/breakers/{format_}"}


async def test_headers_name_the_instance_the_proxy_and_the_breaker(api: ApiOverFakes) -> None:
    """By default."""
    await send(api, "envoy", emitted("envoy")[0].value)
    await send(api, "gobreaker", emitted("gobreaker")[2].value)
    assert published(api) == [
        ("acme", "payments", "127.0.0.1:18401@pod-1", "open"),
        ("acme", "payments", "", "open"),
    ]


async def test_a_header_that_is_needed_and_absent_is_422(api: ApiOverFakes) -> None:
    """With the format and the field."""
    response = await send(api, "opossum", emitted("opossum")[0].value, **{"X-Breaker-Instance": ""})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "header X-Breaker-Instance")
    assert response.json()["detail"].startswith("opossum: header X-Breaker-Instance: ")
    assert (api.log.published, api.authoriser.questions) == ([], [])


async def test_the_caller_may_name_another_tenant_and_policy_decides(api: ApiOverFakes) -> None:
    """As on every other route; a token without a tenant has to."""
    value = emitted("opossum")[1].value
    assert (await send(api, "opossum", value, **{"X-Tenant-Id": "globex"})).status_code == 202
    assert [(question.action, question.tenant) for question in api.authoriser.questions] == [("emit", "globex")]
    bearer = {"Authorization": f"Bearer {token(tenant_id=None, scope='sleep:emit-any')}"}
    assert (await send(api, "opossum", value, **bearer)).json()["errors"][0]["field"] == "X-Tenant-Id"
    assert (await send(api, "opossum", value, **bearer, **{"X-Tenant-Id": "a b"})).status_code == 422
    assert (await send(api, "opossum", value, **bearer, **{"X-Tenant-Id": "globex"})).status_code == 202


async def test_a_tenant_that_is_named_twice_is_400(api: ApiOverFakes) -> None:
    """A proxy in between may have read the other one."""
    headers = [*HEADERS.items(), ("X-Tenant-Id", "acme"), ("X-Tenant-Id", "globex")]
    response = await api.client.post("/api/breakers/opossum", content=emitted("opossum")[0].value, headers=headers)
    assert response.status_code == 400


async def test_each_alert_is_asked_for_and_charged_to_its_tenant(api: ApiOverFakes) -> None:
    """One without a tenant is counted, and costs nobody anything."""
    response = await send(api, "alertmanager", WEBHOOK)
    assert (response.status_code, response.json()) == (202, {"accepted": 2})
    assert [question.tenant for question in api.authoriser.questions] == ["acme", "globex"]
    assert {payer.name: cost for (payer, _), cost in api.limiter.spent.items()} == {"acme": 1, "globex": 1}
    assert skipped(api) == ['sleep_api_reports_skipped_total{format="alertmanager",reason="no_tenant"} 1.0']


async def test_without_consent_for_one_tenant_nothing_is_published(api: ApiOverFakes) -> None:
    """Nor counted."""
    api.authoriser.decisions = iter([api.authoriser.decision, api.authoriser.decision._replace(allow=False)])
    assert (await send(api, "alertmanager", WEBHOOK)).status_code == 403
    assert (api.log.published, skipped(api)) == ([], [])


async def test_one_wrong_alert_refuses_the_webhook(api: ApiOverFakes) -> None:
    """It is named, and nothing is published."""
    alerts: list[Any] = [*WEBHOOK["alerts"], WEBHOOK["alerts"][1] | {"status": "pending"}]
    response = await send(api, "alertmanager", WEBHOOK | {"alerts": alerts})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "alerts[3].status")
    assert api.log.published == []


async def test_truncated_alerts_are_counted_and_logged(api: ApiOverFakes) -> None:
    """With the subject whose receiver has too low a `max_alerts`."""
    with capture_logs() as logs:
        await send(api, "alertmanager", WEBHOOK | {"truncatedAlerts": 5})
    assert [(line["alerts"], "subject" in line) for line in logs if line["event"] == "alerts_truncated"] == [(5, True)]
    assert any('reason="truncated"} 5.0' in line for line in skipped(api))


async def test_what_is_no_transition_is_accepted_as_nothing(api: ApiOverFakes) -> None:
    """A refusal would let the library send it again. A caller who may not emit may not send it either."""
    call = emitted("resilience4j")[0].value
    assert (await send(api, "resilience4j", call)).json() == {"accepted": 0}
    assert [(question.action, question.tenant) for question in api.authoriser.questions] == [("emit", "acme")]
    api.authoriser.decision = api.authoriser.decision._replace(allow=False, reasons=("no",))
    assert (await send(api, "resilience4j", call)).status_code == 403


async def test_a_setting_names_other_labels_and_headers(api: ApiOverFakes) -> None:
    """Instead of the defaults of its format."""
    api.services.formats.update(
        http_formats(
            [
                HttpFormat(
                    format="alertmanager", tenant="label:tenant", breaker="label:pod", instance="label:alertname"
                ),
                HttpFormat(format="opossum", tenant="header:Customer", instance="header:Pod"),
            ]
        )
    )
    await send(api, "alertmanager", WEBHOOK)
    await send(api, "opossum", emitted("opossum")[1].value, Customer="initech", Pod="p-7")
    assert published(api) == [
        ("acme", "pod-1", "PaymentsFailing", "open"),
        ("globex", "pod-2", "PaymentsFailing", "open"),
        ("initech", "payments", "p-7", "open"),
    ]


@pytest.mark.parametrize("name", ["cloudevents", "polly", "resilience4j2"])
async def test_an_unknown_format_is_404_that_lists_the_known_ones(api: ApiOverFakes, name: str) -> None:
    """CloudEvents have `/api/breakers/events`."""
    response = await send(api, name, {})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert "resilience4j, opossum, gobreaker, envoy, hystrix, alertmanager" in response.json()["detail"]


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_request"),
        (b"", "application/json", 400, "malformed_request"),
        (b"<open/>", "text/plain", 415, "unsupported_media_type"),
        (b'{"state": {}, "state": {}}', "application/json", 400, "malformed_request"),
        ([1], "application/json", 422, "invalid_request"),
        ({str(number): 0 for number in range(129)}, "application/json", 422, "invalid_request"),
        ('{"state": {}, "state": {}}'.encode("utf-16"), "application/json", 400, "malformed_request"),
        (b" " * (MAX_BYTES + 1), "application/json", 413, "body_too_large"),
    ],
)
async def test_what_is_no_document_is_refused(
    api: ApiOverFakes, content: object, media_type: str, status: int, code: str
) -> None:
    """By its form and its bounds, before anything is asked."""
    response = await send(api, "opossum", content, **{"Content-Type": media_type})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert (api.log.published, api.authoriser.questions) == ([], [])


async def test_kafka_away_is_503_and_costs_nothing(api: ApiOverFakes) -> None:
    """Alertmanager sends the group again."""
    api.log.failure = UnavailableError("kafka", "away")
    assert (await send(api, "alertmanager", WEBHOOK)).status_code == 503
    assert (sum(api.limiter.spent.values()), skipped(api)) == (0, [])
