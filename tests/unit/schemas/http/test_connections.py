"""The connections of a server are bounded, and probes come through."""

import json
import resource
from typing import Any, Final

import pytest
import uvicorn
from uvicorn.server import ServerState

from schemas.http.connections import OTHER_FILES, SPARE, Connections, affordable
from schemas.http.protocol import BoundedHttp
from tests.unit.schemas.http.wire import Loop, Wire, send

PROBE: Final = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
READ: Final = b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n"


class Addressed(Wire):
    """A connection from an address."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def get_extra_info(self, name: str) -> Any:  # noqa: ANN401 - as a transport's own
        return (self._address, 1) if name == "peername" else None


class Server:
    """An application, and connections to it that share their bounds."""

    def __init__(self, connections: Connections) -> None:
        self.paths: list[str] = []
        self._connections = connections
        self._config = uvicorn.Config(
            self._serve, loop="none", ws="none", lifespan="off", log_config=None, interface="asgi3"
        )
        self._config.load()
        self.protocols: list[BoundedHttp] = []

    async def _serve(self, scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def connect(self, address: str = "10.0.0.1") -> tuple[BoundedHttp, Addressed]:
        wire = Addressed(address)
        protocol = BoundedHttp(self._config, ServerState(), {"headers": []}, Loop(), connections=self._connections)
        wire.attach(protocol)
        protocol.connection_made(wire)  # type: ignore[arg-type]
        self.protocols.append(protocol)
        return protocol, wire

    def end(self) -> None:
        for protocol in self.protocols:
            protocol.connection_lost(None)


def _refusal(wire: Wire) -> tuple[int, str, bool]:
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert b"retry-after: 5\r\n" in head + b"\r\n"
    problem = json.loads(body)
    return problem["status"], problem["code"], wire.closed


async def test_a_client_has_so_many_connections_and_another_one_is_served() -> None:
    """Of IPv6 a client is its /64; a connection that ends makes room."""
    refused: list[str] = []
    for mine, also_mine, other in (("10.0.0.1", "10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::ffff", "::1")):
        connections = Connections(100, 2, refused=refused.append)
        server = Server(connections)
        protocols = [server.connect(mine)[0] for _ in range(2)]
        protocol, wire = server.connect(also_mine)
        await send(protocol, [READ])
        assert _refusal(wire) == (503, "too_many_connections", True)
        protocol, wire = server.connect(other)
        await send(protocol, [READ])
        assert wire.written.startswith(b"HTTP/1.1 200")
        protocols[0].connection_lost(None)
        server.protocols[2].connection_lost(None)
        protocol, wire = server.connect(mine)
        await send(protocol, [READ])
        assert (wire.written[:12], wire.closed) == (b"HTTP/1.1 200", False)
        assert refused == ["client"]
        refused.clear()


async def test_a_process_has_so_many_connections_from_however_many_addresses() -> None:
    """What is refused is not built."""
    refused: list[str] = []
    connections = Connections(4, 2, refused=refused.append)
    server = Server(connections)
    for number in range(4):
        server.connect(f"10.0.0.{number}")
    protocol, wire = server.connect("10.0.1.1")
    await send(protocol, [READ])
    assert _refusal(wire) == (503, "too_many_connections", True)
    assert (server.paths, refused, connections.total) == ([], ["process"], 5)
    server.end()
    assert connections.total == 0


@pytest.mark.parametrize("probe", [b"/healthz", b"/readyz", b"/healthz?a=b"])
@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.1.1"])
async def test_probes_are_answered_above_every_bound_and_nothing_behind_them(probe: bytes, address: str) -> None:
    """An orchestrator ends a process that does not say that it lives."""
    server = Server(Connections(2, 2))
    for _ in range(2):
        server.connect("10.0.0.0")
    protocol, wire = server.connect(address)
    await send(protocol, [PROBE.replace(b"/healthz", probe) + READ])
    assert server.paths == [probe.partition(b"?")[0].decode()]
    assert wire.written.startswith(b"HTTP/1.1 200")
    assert wire.written.count(b"HTTP/1.1") == 1
    assert wire.closed
    server.end()


async def test_silent_connections_above_the_bound_give_way_to_probes() -> None:
    """The one that has been silent for longest closes; one whose head has come is left alone."""
    connections = Connections(1, 1, spare=3)
    server = Server(connections)
    server.connect("10.0.0.0")
    silent = [server.connect(f"10.0.1.{number}")[1] for number in range(50)]
    assert [wire.closed for wire in silent] == [True] * 47 + [False] * 3
    protocol, wire = server.connect("10.0.2.1")
    await send(protocol, [PROBE])
    assert wire.written.startswith(b"HTTP/1.1 200")
    server.end()
    assert connections.total == 0


async def test_where_every_spare_connection_is_in_hand_a_further_one_closes_at_once() -> None:
    """Nothing is cut off for it."""
    connections = Connections(1, 1, spare=2)
    server = Server(connections)
    server.connect("10.0.0.0")
    for number in range(2):
        protocol, wire = server.connect(f"10.0.1.{number}")
        protocol.data_received(PROBE)
        assert not wire.closed
    _, wire = server.connect("10.0.2.1")
    assert (wire.closed, wire.written) == (True, b"")
    server.end()


def test_a_process_holds_no_more_connections_than_it_may_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else none would be left for Redis and Kafka."""
    for files, most in (
        (1_024, 1_024 - OTHER_FILES - SPARE),
        (100, 1),
        (65_536, 8_192),
        (resource.RLIM_INFINITY, 8_192),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert affordable(8_192) == most
