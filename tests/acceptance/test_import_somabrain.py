"""The predecessor's table in a real PostgreSQL: an import that is interrupted twice ends as one that is not."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from tests.services import Namespace, Services
from tests.support.administration import assert_fold
from tests.support.command import Running, call
from tests.support.installation import ApiClient, Installation
from tests.support.postgres import PASSWORD, postgres

PARTITIONS: Final = 4
ROWS: Final = int(os.environ.get("SLEEP_TEST_IMPORT_ROWS", "10000"))
STEPS: Final = ((signal.SIGINT, ROWS // 10), (signal.SIGKILL, ROWS // 3))
"""How the import is interrupted, each time after so many answers."""
pytestmark = [pytest.mark.once, pytest.mark.timeout(300)]
TABLE: Final = """
CREATE TABLE tenant_sleep_states (
    tenant_id varchar(255) PRIMARY KEY, current_state varchar(50) NOT NULL, target_state varchar(50) NOT NULL,
    ttl timestamp, scheduled_wake timestamp, circuit_breaker_state varchar(50) NOT NULL DEFAULT 'closed',
    parameters_json text, updated_at timestamp NOT NULL DEFAULT now())
"""
_KINDS: Final = (
    ("deep", 3_000, "closed"),
    ("light", None, "closed"),
    ("active", None, "closed"),
    ("freeze", None, "open"),
    ("freeze", -60, "closed"),
)
"""State, seconds to the end, breaker: a fifth of the tenants each."""
SLEEPING: Final = {"deep": ROWS // 5, "light": ROWS // 5, "freeze": ROWS // 5}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The table as the predecessor's migration makes it, and a user who may only read it."""
    with postgres() as url, psycopg.connect(url) as connection:
        connection.execute(TABLE)
        now = datetime.now(UTC).replace(tzinfo=None)
        with connection.cursor().copy(
            "COPY tenant_sleep_states (tenant_id, current_state, target_state, ttl, scheduled_wake, "
            "circuit_breaker_state) FROM STDIN"
        ) as rows:
            for number in range(ROWS):
                state, seconds, breaker = _KINDS[number % len(_KINDS)]
                end = None if seconds is None else now + timedelta(seconds=seconds)
                rows.write_row((f"tenant-{number}", state, state, end, end, breaker))
        connection.execute(f"CREATE USER reader PASSWORD '{PASSWORD}'")
        connection.execute("GRANT SELECT ON tenant_sleep_states TO reader")
        connection.execute("ALTER DATABASE postgres SET TimeZone = 'Asia/Kolkata'")
        connection.commit()
        yield url.replace("owner:", "reader:", 1)


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """One worker."""
    async with Installation.open(services, namespace, tmp_path, partitions=PARTITIONS) as opened:
        opened.start("worker")
        yield opened


def _environment(door: ApiClient) -> dict[str, str]:
    return {"SLEEP_URL": door.url, "SLEEP_TOKEN": door.token("platform", "sleep:operate")}


def _listed(door: ApiClient, folder: Path) -> list[dict[str, Any]]:
    answer = call("tenants", "--json", folder=folder, environment=_environment(door), seconds=60)
    assert answer.returncode == 0, answer.stderr
    entries: list[dict[str, Any]] = json.loads(answer.stdout)["tenants"]
    return entries


async def test_ten_thousand_rows_with_two_interruptions(
    installation: Installation, database: str, tmp_path: Path
) -> None:
    """Each sleeping tenant sleeps until its row's end, by one command; a repeated import sends nothing."""
    door = await installation.open_door()
    run, environment = tmp_path / "first.jsonl", _environment(door)
    command = ("import-somabrain", "--dsn", database, "--run", str(run), "--yes")
    began = time.monotonic()
    for number, answers in STEPS:
        with Running(*command, folder=tmp_path, environment=environment) as process:
            while not run.exists() or run.read_bytes().count(b',"done",') < answers:
                assert process.process.poll() is None, process.told
                await asyncio.sleep(0.05)
            code = process.stop(number, 30)
        assert code == (130 if number is signal.SIGINT else -signal.SIGKILL), process.told
        assert PASSWORD not in process.told
        assert answers <= run.read_bytes().count(b',"done",') < sum(SLEEPING.values())
    ended = call(*command, "--json", folder=tmp_path, environment=environment, seconds=120)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["tenants"], report["codes"]) == (sum(SLEEPING.values()), {"done": sum(SLEEPING.values())})
    print(f"\n{ROWS} rows in {time.monotonic() - began:.1f} s with two interruptions")

    await installation.caught_up()
    entries = _listed(door, tmp_path)
    assert Counter(entry["state"] for entry in entries) == SLEEPING
    with psycopg.connect(database) as connection:
        query = "SELECT tenant_id, current_state, extract(epoch FROM ttl AT TIME ZONE 'UTC') FROM tenant_sleep_states"
        rows = {tenant: (state, end) for tenant, state, end in connection.execute(query)}
    for entry in entries:
        state, end = rows[entry["tenant_id"]]
        assert entry["state"] == state
        if state == "deep":
            [wake] = entry["forecast"]
            assert 0 <= wake["at"] / 1000 - float(end) < 30, "it wakes with its row, or a request's time later"
    events = await installation.length(installation.settings.topics.events)
    again = call(*command, "--json", folder=tmp_path, environment=environment, seconds=60)
    assert again.returncode == 0, again.stderr
    assert await installation.length(installation.settings.topics.events) == events
    await assert_fold(installation)


def test_what_cannot_be_read_is_said_without_a_secret(database: str, tmp_path: Path) -> None:
    """A wrong password, an address where nothing listens, no such table, and a plan of a row that is wrong."""
    wrong = database.replace(PASSWORD, "wr0ng-pa55")
    plan = ("import-somabrain", "--dry-run", "--dsn")
    for dsn, more, told in (
        (wrong, (), "password authentication failed"),
        (database.replace("127.0.0.1:", "127.0.0.1:1"), (), "postgresql host=127.0.0.1 port=1"),
        (database, ("--table", "public.nothing"), 'relation "public.nothing" does not exist'),
        (database, ("--table", "pg_catalog.pg_class"), "it has no column tenant_id, current_state, ttl"),
    ):
        answer = call(*plan, dsn, *more, folder=tmp_path)
        assert answer.returncode in (1, 2)
        assert told in answer.stderr, answer.stderr
        assert "pa55" not in answer.stderr + answer.stdout
        assert "Traceback" not in answer.stderr
    owner = database.replace("reader:", "owner:", 1)
    with psycopg.connect(owner) as connection:
        connection.execute("CREATE TABLE odd (tenant_id text, current_state text, ttl timestamptz)")
        connection.execute("INSERT INTO odd VALUES ('acme', 'deep', 'infinity'), ('globex', 'deep', NULL)")
        connection.execute("GRANT SELECT ON odd TO reader")
        connection.commit()
    answer = call(*plan, database, "--table", "odd", "--json", folder=tmp_path)
    document = json.loads(answer.stdout)
    assert (answer.returncode, [row["tenant"] for row in document["planned"]]) == (1, ["globex"])
    assert [(row["number"], row["field"]) for row in document["broken"]] == [(1, "ttl")]
    # libpq takes what the DSN does not say from its own variables.
    address = database.partition("@")[2].partition("/")[0].partition(":")
    environment = {"PGPASSWORD": PASSWORD, "PGHOST": address[0], "PGPORT": address[2], "PGUSER": "reader"}
    answer = call(*plan, "dbname=postgres", "--json", folder=tmp_path, environment={**os.environ, **environment})
    assert (answer.returncode, json.loads(answer.stdout)["rows"]) == (0, ROWS)
