"""The gate: what proxies, probes and Prometheus are answered."""

import pytest

from sleep_client import NotReady, NotWatched, ReaderStatus, TenantState
from sleep_client.gate.checking import HEADERS
from sleep_client.obeying import REDUCED_CAPACITY
from tests.support.gate import PARAMETERS, Gate

FROZEN = TenantState("freeze", PARAMETERS, ends_at=1_795_334_500_000)


async def test_an_allowed_request_has_the_state() -> None:
    """With the end of it, if the forecast has one."""
    gate = Gate()
    gate.reader.states["acme"] = FROZEN
    answer = await gate.call("/gate", "acme")
    assert (answer.status_code, answer.content, answer.headers.pop("content-length")) == (200, b"", "0")
    assert dict(answer.headers) == {"x-sleep-state": "freeze", "x-sleep-ends-at": "1795334500000"}
    assert dict((await gate.call("/gate", "globex")).headers) == {"x-sleep-state": "active", "content-length": "0"}
    assert (await gate.counted())['sleep_gate_checks_total{result="allowed"}'] == 2


async def test_the_parameters_are_headers_by_setting() -> None:
    """And a stale answer says so; there is no other header, so a proxy knows all that it removes."""
    gate = Gate(PARAMETERS="true")
    gate.reader.states["acme"] = FROZEN._replace(stale=True)
    answer = await gate.call("/gate", "acme")
    assert dict(answer.headers) == {
        "x-sleep-state": "freeze",
        "x-sleep-ends-at": "1795334500000",
        "x-sleep-stale": "true",
        "x-sleep-k": "100",
        "x-sleep-t": "0.5",
        "x-sleep-tau": "1",
        "x-sleep-eta": "0.25",
        "x-sleep-lambda": "2.0",
        "x-sleep-b": "64",
        "content-length": "0",
    }
    assert {name.decode() for name in HEADERS} == set(answer.headers) - {"content-length"}


@pytest.mark.parametrize(("proxy", "status"), [("nginx", 403), ("envoy", 429), ("traefik", 503), ("caddy", 503)])
async def test_a_denial_has_the_form_that_the_proxy_passes_on(proxy: str, status: int) -> None:
    """With the problem and the time of the forecast."""
    gate = Gate(PROXY=proxy, DENY="freeze,deep")
    gate.reader.states["acme"] = FROZEN
    gate.reader.left = 29.2
    answer = await gate.call("/gate", "acme")
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "30")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": REDUCED_CAPACITY,
        "title": "Temporary Reduced Capacity",
        "status": status,
        "detail": "Tenant acme is in state freeze. Try again later.",
    }
    head = await gate.call("/gate", "acme", "HEAD")
    assert (head.status_code, head.content) == (status, b"")
    assert (await gate.call("/gate", "globex")).status_code == 200
    assert (await gate.counted())['sleep_gate_checks_total{result="denied_state"}'] == 2


@pytest.mark.parametrize(
    "path", ["/gate/", "/gate/orders/7?a=b", "/gate/%2e%2e/readyz", "/gate/ofrep/v1/evaluate/flags"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PURGE"])
async def test_any_path_and_method_behind_the_prefix_is_a_check(path: str, method: str) -> None:
    """As Envoy asks."""
    gate = Gate(PROXY="envoy", DENY="freeze")
    gate.reader.states["acme"] = FROZEN
    answer = await gate.call(path, "acme", method, content=b"body")
    assert answer.status_code == 429


@pytest.mark.parametrize(("path", "status"), [("/gatekeeper", 404), ("/", 404), ("/gate*", 404), ("/readyz/", 404)])
async def test_other_paths_are_unknown(path: str, status: int) -> None:
    """A wrong prefix in a proxy's configuration denies."""
    assert (await Gate().call(path, "acme")).status_code == status


@pytest.mark.parametrize(("proxy", "status"), [("nginx", 401), ("envoy", 400), ("traefik", 400)])
@pytest.mark.parametrize("headers", [[], [""], ["acme", "globex"], ["acme", "acme"], ["acme,globex"], ["a b"], ["ä"]])
async def test_a_missing_doubled_or_invalid_tenant(proxy: str, status: int, headers: list[str]) -> None:
    """Is denied by default, and passes without a state by setting."""
    sent = [(b"x-tenant-id", value.encode("latin-1")) for value in headers]
    denied = await Gate(PROXY=proxy).call("/gate", headers=sent)
    assert (denied.status_code, denied.json()["status"]) == (status, status)
    gate = Gate(PROXY=proxy, NO_TENANT="allow")
    allowed = await gate.call("/gate", headers=sent)
    assert (allowed.status_code, dict(allowed.headers)) == (200, {"content-length": "0"})
    assert (await gate.counted())['sleep_gate_checks_total{result="allowed_without_state"}'] == 1


async def test_the_header_of_the_tenant_is_a_setting() -> None:
    """In any case; the default one means nothing then."""
    gate = Gate(TENANT_HEADER="X-Customer")
    assert (await gate.call("/gate", headers=[("x-customer", "acme")])).status_code == 200
    assert (await gate.call("/gate", "acme")).status_code == 401


@pytest.mark.parametrize(("proxy", "status"), [("nginx", 403), ("envoy", 429), ("caddy", 503)])
@pytest.mark.parametrize("error", [NotReady("no states yet"), NotWatched("tenant acme")])
async def test_a_state_that_is_not_known(proxy: str, status: int, error: Exception) -> None:
    """Denies by default, for a short time."""
    gate = Gate(PROXY=proxy)
    gate.reader.states["acme"] = error
    answer = await gate.call("/gate", "acme")
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "5")
    assert (await gate.counted())['sleep_gate_checks_total{result="denied_unknown"}'] == 1
    open_gate = Gate(PROXY=proxy, NOT_READY="allow")
    open_gate.reader.states["acme"] = error
    assert (await open_gate.call("/gate", "acme")).status_code == 200


async def test_what_happens_while_it_is_stale_is_a_setting() -> None:
    """`hold` answers on; with `deny` nothing is known once the reader's status is ERROR."""
    for when_stale, status in (("hold", 200), ("wake", 200), ("deny", 403)):
        gate = Gate(WHEN_STALE=when_stale)
        gate.reader.states["acme"] = FROZEN._replace(stale=True)
        gate.reader.states["any"] = gate.reader.states["acme"]
        gate.reader.status = ReaderStatus.STALE
        assert (await gate.call("/gate", "acme")).status_code == 200
        gate.reader.status = ReaderStatus.ERROR
        assert (await gate.call("/gate", "acme")).status_code == status
        assert (await gate.call("/readyz")).status_code == (200 if status == 200 else 503)


async def test_it_is_ready_once_it_knows_states() -> None:
    """Also while the stream is lost: a proxy's pod does not leave the load balancer for that."""
    gate = Gate()
    gate.reader.status = ReaderStatus.NOT_READY
    gate.reader.states["any"] = NotReady("no answer has come yet")
    answer = await gate.call("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (503, "no answer has come yet")
    gate.reader.status = ReaderStatus.STALE
    del gate.reader.states["any"]
    assert (await gate.call("/readyz")).json() == {"ready": True, "reader": "stale"}
    assert (await gate.call("/readyz", method="POST")).status_code == 405


async def test_a_gate_for_some_tenants_asks_for_one_of_them() -> None:
    """The reader does not know others."""
    gate = Gate(TENANTS="globex,acme")
    gate.reader.states["any"] = NotWatched("any")
    assert (await gate.call("/readyz")).status_code == 200
    gate.reader.states["acme"] = NotReady("closed")
    assert (await gate.call("/readyz")).status_code == 503


async def test_the_metrics_show_the_status_and_no_tenant() -> None:
    """Every result is there from the start."""
    gate = Gate()
    await gate.call("/gate", "acme-secret")
    gate.reader.status = ReaderStatus.STALE
    page = (await gate.call("/metrics")).text
    assert 'sleep_gate_reader_status{status="stale"} 1.0' in page
    assert 'sleep_gate_reader_status{status="ready"} 0.0' in page
    assert 'sleep_gate_checks_total{result="denied_state"} 0.0' in page
    assert "acme-secret" not in page


async def test_it_serves_http_only() -> None:
    """A server that is set otherwise is told so."""
    with pytest.raises(RuntimeError, match="websocket"):
        await Gate().app({"type": "websocket"}, None, None)  # type: ignore[arg-type]
