"""schemathesis, with all its checks on, against the running API: the OpenAPI document is the truth."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.services import Namespace, Services
from tests.support.installation import ApiClient, Installation

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
EXAMPLES = 40
"""Of each operation in each phase."""
SEED = 20_261_124


@pytest.fixture
async def door(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[ApiClient]:
    """The API before a worker, without limits, once a command has gone through."""
    async with Installation.open(services, namespace, tmp_path, partitions=2) as installation:
        installation.start("worker")
        door = await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}')
        async with asyncio.timeout(60), door.client("warm-up") as client:
            while (await client.post("/api/brain/sleep_mode", json={"target_state": "active"})).status_code != 200:
                await asyncio.sleep(0.2)
        yield door


@pytest.mark.timeout(600)
async def test_the_api_keeps_its_own_contract(door: ApiClient, tmp_path: Path) -> None:
    """No 5xx, no undocumented status, no answer against its schema, nothing invalid taken, nothing valid refused.

    Event streams never end, which this tool waits for; they have tests of their own.
    """
    schemathesis = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", HERE / "schemathesis.toml"),
        *("run", f"{door.url}/openapi.json"),
        *("--checks", "all", "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--workers", "1"),
        *("--header", f"Authorization: Bearer {door.token('acme', 'sleep:operate')}"),
        *("--include-path-regex", "api/(audit|deadletters|permissions|partitions|history)$"),
        *("--suppress-health-check", "all", "--no-color", "--continue-on-failure"),
        cwd=tmp_path,
        env={"SCHEMATHESIS_HOOKS": "tests.integration.contract.checks", "PYTHONPATH": str(HERE.parents[2])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await schemathesis.communicate()
    print(output.decode())
    assert schemathesis.returncode == 0
    assert "Traceback" not in (tmp_path / "api.log").read_text()
