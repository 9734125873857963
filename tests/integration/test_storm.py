"""Load by the command line, on real services: all events are folded, and all tenants of the storm wake."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from pydantic_core import from_json

from schemas.wire.events import BREAKER
from tests.services import Kind
from tests.support.administration import document_of
from tests.support.installation import ApiClient, Installation

pytestmark = [pytest.mark.once, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

MIX: Final = {"prefix": "load-", "tenants": 50, "breakers": 1, "instances": 1, "states": {"open": 1, "closed": 1}}


async def test_a_storm_is_folded_and_leaves_nobody_asleep(
    installation: Installation, door: ApiClient, tmp_path: Path
) -> None:
    """Through ingress, as emitters write. The topic holds what the command counted."""
    mix = tmp_path / "mix.json"
    mix.write_text(json.dumps(MIX))
    report = await document_of(installation, "storm", "--rate", "600", "--seconds", "2", "--mix", str(mix))
    assert (report["failed"], report["capped"]) == (0, installation.services.kind is Kind.EMBEDDED)
    assert 0 < report["sent"] <= 1_200
    assert 0 < report["calmed"] <= 50
    # Ingress leaves out none: each tenant is far below its limit.
    async with asyncio.timeout(120):
        while await _events(installation) < report["sent"] + report["calmed"]:
            await asyncio.sleep(0.5)
    await installation.caught_up()
    async with door.client("platform") as client:
        headers = {"Authorization": f"Bearer {door.token('platform', 'sleep:operate')}"}
        page = (await client.get("/api/tenants?limit=1000", headers=headers)).json()
    states = Counter(entry["state"] for entry in page["tenants"] if entry["tenant_id"].startswith("load-"))
    assert states == {"active": 50}
    assert await _events(installation) == report["sent"] + report["calmed"]


async def _events(installation: Installation) -> int:
    """How many breaker events of the storm's tenants are on the events topic."""
    topic, partitions = installation.settings.topics.events, installation.settings.partitions
    events = [
        from_json(record.value or b"")
        for partition in range(partitions)
        for record in await installation.read(topic, partition)
    ]
    return sum(event["type"] == BREAKER and event["subject"].startswith("load-") for event in events)
