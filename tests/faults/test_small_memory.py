"""A worker with 512 MiB, attacked on the log, on ingress and on its page, is never killed and equals the fold."""

from pathlib import Path

import pytest

from tests.attack.siege import LIMIT_MIB, besiege
from tests.attack.target import PARTITIONS, Target
from tests.services import Lacks, Namespace, Services, redis_client
from tests.support.installation import Installation

pytestmark = [pytest.mark.once, pytest.mark.needs_kafka(Lacks.SPACE)]

SECONDS = 15.0


@pytest.mark.timeout(600)
async def test_a_worker_with_512_mib_outlives_the_attacks_and_is_the_fold(
    services: Services, namespace: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make attack` does so for five minutes."""
    async with Installation.open(services, namespace, tmp_path, partitions=PARTITIONS) as installation:
        redis = redis_client(services.redis)
        try:
            target = Target(installation, redis, short=True)
            await target.start()
            siege = await besiege(target, SECONDS)
        finally:
            await redis.aclose()
    with capsys.disabled():
        print(f"\n{siege.rounds} rounds, {siege.records:,} records, at most {siege.peak_mib:.0f} MiB")
    assert siege.peak_mib <= LIMIT_MIB
