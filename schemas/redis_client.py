"""What worker and API both know of redis-py: what an outage looks like, and which nodes of a cluster it forgets.

See docs/decisions/0012-redis-cluster.md. Nothing here needs redis-py itself.
"""

from collections.abc import Mapping
from typing import Any


def from_the_client(error: Exception) -> bool:
    """Tell whether an error comes out of a call into redis-py, and not out of our own code.

    What redis-py raises while a server goes away is not always an error of its own: a connection that was just closed
    it takes for an open one, and what the event loop or a stream then raises comes through.
    """
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).startswith("redis."):
            return True
        trace = trace.tb_next
    return False


class KeptNodes(dict[str, Any]):
    """The nodes that a cluster's client may ask for the others. It forgets each that was away, and in the end all."""

    def pop(self, key: str, *_: object) -> Any:  # noqa: ANN401 - the client's node
        """Return a node, and keep it."""
        return self.get(key)


async def info(client: Any, *, cluster: bool) -> dict[str, Mapping[str, Any]]:  # noqa: ANN401 - redis-py's
    """Return the `INFO` of each primary, by its name; a server that is no cluster has none."""
    if not cluster:
        return {"": await client.info()}
    await client.initialize()
    found = await _of_primaries(client)
    if any(told.get("role") == "slave" for told in found.values()):
        # The client has not heard of a failover; looking closes its connections, so only where it must.
        await client.nodes_manager.initialize()
        found = await _of_primaries(client)
    return found


async def _of_primaries(cluster: Any) -> dict[str, Mapping[str, Any]]:  # noqa: ANN401 - as above
    return {node.name: await cluster.info(target_nodes=node) for node in cluster.get_primaries()}
