"""A Redis Cluster of local processes: three primaries, each with a replica that takes over."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import redis
from redis.crc import key_slot

from tests.services.base import POLL_SECONDS, READY_TIMEOUT_SECONDS, Service, ServiceError
from tests.services.probe import LOOPBACK, PROBE_SECONDS, free_port, redis_answers
from tests.services.processes import ProcessService
from tests.services.redis_client import CLUSTER_SCHEME

PRIMARIES = 3
SLOTS = 16_384
# Short, so that a failover takes seconds; long enough that a busy machine is not taken for a dead one.
NODE_TIMEOUT_MS = 2_000


class ClusterNode(ProcessService):
    """One server of a cluster; it keeps its data, and what it knows of the others, over a restart."""

    def __init__(self, folder: Path, program: str, number: int) -> None:
        self.port = free_port()
        self.bus_port = free_port()
        self._program = program
        super().__init__(f"Redis node {number}", f"redis://{LOOPBACK}:{self.port}/0", folder / f"node-{number}")

    def command(self) -> list[str]:
        options = {
            "bind": LOOPBACK,
            "port": self.port,
            "cluster-enabled": "yes",
            "cluster-port": self.bus_port,
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            # Whoever ends a node starts it again: no other one's replica is to move in its place.
            "cluster-allow-replica-migration": "no",
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "repl-diskless-sync-delay": 0,
            # All are ended together: none is to wait for a replica that has gone.
            "shutdown-timeout": 0,
        }
        return [self._program, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]

    def answers(self) -> bool:
        return redis_answers(self.address)

    def ask(self, *command: str | int) -> Any:  # noqa: ANN401 - whatever the command answers
        """Send a command to this node, whatever it thinks of the key."""
        with closing(redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=5, decode_responses=True)) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py left it without types

    def ask_readonly(self, *command: str | int) -> Any:  # noqa: ANN401 - as above
        """Send a reading command to this node, which answers it as a replica too."""
        with closing(
            redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=5, single_connection_client=True)
        ) as client:
            client.execute_command("READONLY")  # type: ignore[no-untyped-call]  # as above
            return client.execute_command(*command)  # type: ignore[no-untyped-call]  # as above

    def info(self, section: str) -> dict[str, Any]:
        """Return a section of `INFO`."""
        with closing(redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=PROBE_SECONDS)) as client:
            return cast("dict[str, Any]", client.info(section))


class RedisClusterService(Service):
    """All nodes of a cluster, taken away and given back together; each alone is in `nodes`."""

    def __init__(self, folder: Path, program: str) -> None:
        self.nodes = [ClusterNode(folder / "cluster", program, number) for number in range(2 * PRIMARIES)]
        self._formed = False
        # A client asks this node for the others, and knows them from then on.
        super().__init__("Redis Cluster", f"{CLUSTER_SCHEME}{LOOPBACK}:{self.nodes[0].port}")

    def launch(self) -> None:
        for node in self.nodes:
            node.launch()

    def running(self) -> bool:
        return all(node.running() for node in self.nodes)

    def answers(self) -> bool:
        """Whether every slot has a primary and every primary a replica that follows it."""
        with suppress(redis.RedisError, OSError):
            return all(_is_well(node) for node in self.nodes)
        return False

    def log_tail(self) -> str:
        return "\n".join(f"{node.name}:\n{node.log_tail()}" for node in self.nodes)

    def wait_ready(self, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Wait until it answers; the first time, make one cluster of the nodes before."""
        for node in self.nodes:
            node.wait_ready(timeout_seconds)
        if not self._formed:
            self._form(timeout_seconds)
            self._formed = True
        super().wait_ready(timeout_seconds)

    def _form(self, timeout_seconds: float) -> None:
        """Share the slots out, introduce the nodes to each other, and give each primary its replica."""
        primaries, replicas = self.nodes[:PRIMARIES], self.nodes[PRIMARIES:]
        bounds = [number * SLOTS // PRIMARIES for number in range(PRIMARIES + 1)]
        for number, node in enumerate(primaries):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", LOOPBACK, node.port, node.bus_port)
        _until(lambda: all(_knows_all(node, len(self.nodes)) for node in self.nodes), timeout_seconds, self)
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))

    def stop(self) -> None:
        for node in self._alive():
            node.stop()

    def kill(self) -> None:
        for node in self._alive():
            node.kill()

    def _freeze(self, *, frozen: bool) -> None:
        for node in self._alive():
            node._freeze(frozen=frozen)  # noqa: SLF001 - a cluster is its nodes

    def heal(self) -> None:
        if self._paused:
            self.resume()
        down = [node for node in self.nodes if not node.running()]
        for node in self.nodes:
            node.heal()
        if down:
            self.wait_ready()

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def _alive(self) -> Iterator[ClusterNode]:
        return (node for node in self.nodes if node.running())

    def primary_of(self, key: str) -> ClusterNode:
        """Return the node that now serves a key.

        Raises:
            ServiceError: if none does.
        """
        slot = key_slot(key.encode())
        for node in self._alive():
            for first, last, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
        raise ServiceError(f"no node serves slot {slot}")

    def replica_of(self, primary: ClusterNode) -> ClusterNode:
        """Return the node that follows a primary.

        Raises:
            ServiceError: if none does.
        """
        for node in self._alive():
            info = node.info("replication")
            if info["role"] == "slave" and info["master_port"] == primary.port:
                return node
        raise ServiceError(f"{primary.name} has no replica")

    def await_takeover(self, replica: ClusterNode) -> None:
        """Wait until a replica has become a primary, and the cluster serves every slot."""
        _until(
            lambda: replica.info("replication")["role"] == "master" and _state(replica) == "ok",
            READY_TIMEOUT_SECONDS,
            self,
        )


def _state(node: ClusterNode) -> str:
    lines = str(node.ask("CLUSTER", "INFO")).splitlines()
    return next(line.partition(":")[2] for line in lines if line.startswith("cluster_state"))


def _knows_all(node: ClusterNode, count: int) -> bool:
    """Tell whether a node has shaken hands with every other one, and knows whose the slots are."""
    known = [line for line in str(node.ask("CLUSTER", "NODES")).splitlines() if "handshake" not in line]
    return len(node.ask("CLUSTER", "SLOTS")) == PRIMARIES and len(known) == count


def _is_well(node: ClusterNode) -> bool:
    info = node.info("replication")
    linked = info["connected_slaves"] == 1 if info["role"] == "master" else info["master_link_status"] == "up"
    return bool(linked) and _state(node) == "ok"


def _until(done: Callable[[], bool], timeout_seconds: float, cluster: RedisClusterService) -> None:
    """Wait until a condition holds; a node that does not answer yet does not meet it."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        with suppress(redis.RedisError, OSError):
            if done():
                return
        time.sleep(POLL_SECONDS)
    raise ServiceError(f"the cluster is not as it should be after {timeout_seconds:g} s:\n{cluster.log_tail()}")
