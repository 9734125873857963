"""`sleepctl import-somabrain` from the outside: the plan, what is sent, and what is wrong with a table."""

import json
from pathlib import Path
from typing import Final

import pytest

from schemas.clock import now_ms
from sleepctl.io.api_client import Answer
from sleepctl.mass.run_file import Head, Result
from sleepctl.mass.targets import Target
from sleepctl.somabrain.command import ImportRow
from sleepctl.ui.output import clock
from tests.support.times import MINUTE, NOW
from tests.unit.sleepctl.mass.conftest import Call
from tests.unit.sleepctl.mass.fakes import Tenants, once, problem

HEADER: Final = (
    "tenant_id,current_state,target_state,ttl,scheduled_wake,circuit_breaker_state,parameters_json,updated_at"
)
HEAD: Final = Head("first", {}, "ops", NOW)


def _line(tenant: str, state: str, ttl: str = "", breaker: str = "closed") -> str:
    return f'{tenant},{state},{state},{ttl},{ttl},{breaker},"{{""K"": 1}}",2026-11-30 09:00:00'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A table: three sleep, one of them without an end; one is awake, and the end of one has passed."""
    soon, before = clock(now_ms() + 10 * MINUTE), clock(now_ms() - MINUTE)
    rows = [
        _line("acme", "deep", soon),
        _line("globex", "light"),
        _line("initech", "freeze", breaker="open"),
        _line("hooli", "active"),
        _line("umbrella", "freeze", before),
    ]
    path = tmp_path / "states.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_sleeping_tenants_get_a_mode_until_their_end(call: Call, tenants: Tenants, file: Path) -> None:
    """The others get nothing; a tenant without a record is no mistake."""
    outcome = call("import-somabrain", str(file), "--run", "first", "--yes")
    assert outcome.code == 0, outcome.err
    assert "5 rows: 3 become a command, 2 need none, 0 are wrong" in outcome.err
    assert outcome.out.startswith("run first: of 3 tenants 3 done, 0 refused, 0 unanswered; ")
    bodies = {tenant: body for _, _, tenant, body, _ in tenants.calls}
    ttls = {tenant: body.pop("ttl_seconds", None) for tenant, body in bodies.items()}
    reason = "run first: from tenant_sleep_states"
    assert bodies == {
        tenant: {"target_state": state, "reason": reason}
        for tenant, state in (("acme", "deep"), ("globex", "light"), ("initech", "freeze"))
    }
    assert ttls["globex"] is None
    assert ttls["acme"] == pytest.approx(600, abs=60)
    assert ttls["initech"] == pytest.approx(900, abs=60)


def test_a_dry_run_needs_neither_an_api_nor_a_token(call: Call, tenants: Tenants, file: Path, runs: Path) -> None:
    """As a table, and as JSON with each row."""
    outcome = call("import-somabrain", str(file), "--dry-run", SLEEP_TOKEN="")
    assert outcome.code == 0, outcome.err
    assert "mode deep    it sleeps until its ttl" in outcome.out
    assert "line 2: acme until " in outcome.out
    document = json.loads(call("import-somabrain", str(file), "--dry-run", "--json", SLEEP_TOKEN="").out)
    assert [row["tenant"] for row in document["planned"]] == ["acme", "globex", "initech"]
    assert [row["number"] for row in document["skipped"]] == [5, 6]
    assert (tenants.calls, runs.exists()) == ([], False)


def test_a_second_import_leaves_out_what_did_not_change(call: Call, tenants: Tenants, file: Path) -> None:
    """The plan says why."""
    command = ("import-somabrain", str(file), "--yes", "--changed-after")
    outcome = call(*command, "2026-11-30T09:00:00Z")
    assert (outcome.code, tenants.calls) == (0, []), outcome.err
    assert "4  nothing      its updated_at is not later than --changed-after" in outcome.err
    outcome = call(*command, "2026-11-30T09:59:59.999+01:00")
    assert (outcome.code, tenants.applied) == (0, {"acme": 1, "globex": 1}), outcome.err
    assert "1  nothing      --changed-after: a breaker may have frozen it, and it has no end" in outcome.err


@pytest.mark.parametrize("time", ["yesterday", "2026-11-30T09:00:00", "2026-13-01T00:00:00Z", "1796029200", "-5"])
def test_a_time_of_the_first_import_that_is_none_is_refused(
    call: Call, tenants: Tenants, file: Path, time: str
) -> None:
    """In one line, before anything is read or sent."""
    outcome = call("import-somabrain", str(file), "--yes", f"--changed-after={time}")
    assert (outcome.code, tenants.calls) == (2, [])
    assert f"--changed-after {time!r} " in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_wrong_rows_are_named_and_the_others_are_imported(call: Call, tenants: Tenants, file: Path) -> None:
    """By line and field; the exit status says that something is left to do."""
    with file.open("a") as more:
        more.write(
            f"short,deep\n{_line('a tenant', 'deep')}\n{_line('late', 'deep', 'soon')}\n\n{_line('acme', 'deep')}\n"
        )
    outcome = call("import-somabrain", str(file), "--dry-run")
    assert outcome.code == 1
    assert "line 7, the line: it has 2 fields, and the header has 8" in outcome.out
    assert "line 8, tenant_id (tenant 'a tenant'): 'a tenant' is no tenant id" in outcome.out
    assert "line 9, ttl (tenant 'late'): 'soon' is no time" in outcome.out
    assert "line 11, tenant_id (tenant 'acme'): it is also on line 2" in outcome.out
    outcome = call("import-somabrain", str(file), "--yes")
    assert (outcome.code, tenants.applied) == (1, {"globex": 1, "initech": 1})
    assert "5 rows are wrong and are not imported; the others were imported" in outcome.err


def test_a_quote_that_is_not_closed_names_the_lines_that_it_swallows(call: Call, tenants: Tenants, file: Path) -> None:
    """What came before is planned."""
    file.write_text("\n".join([HEADER, _line("acme", "deep"), '"globex,deep', _line("hooli", "deep"), ""]))
    outcome = call("import-somabrain", str(file), "--yes")
    assert (outcome.code, tenants.applied) == (1, {"acme": 1})
    assert "line 3, the line: no CSV: " in outcome.err
    assert "the rows from line 3 to line 4 cannot be told apart" in outcome.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it has no column tenant_id, current_state, ttl"),
        (b"tenant_id,ttl\nacme,\n", "it has no column current_state, and nothing was sent"),
        (b"tenant_id,ttl,current_state,ttl\n", "the column ttl comes twice"),
        (f"{HEADER}\nacm\xe9,deep\n".encode("latin-1"), "is not UTF-8 text: byte "),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(
    call: Call, tenants: Tenants, file: Path, content: bytes, told: str
) -> None:
    """Before anything is planned."""
    file.write_bytes(content)
    outcome = call("import-somabrain", str(file), "--yes")
    assert (outcome.code, tenants.calls) == (2, [])
    assert told in outcome.err


def test_a_table_in_which_nobody_sleeps_is_done(call: Call, tenants: Tenants, file: Path) -> None:
    """It is no failure."""
    file.write_text(f"{HEADER}\n{_line('acme', 'active')}\n")
    outcome = call("import-somabrain", str(file), "--yes")
    assert (outcome.code, tenants.calls) == (0, [])
    assert "no row becomes a command; nothing was sent" in outcome.err


def test_an_interrupted_import_is_continued_with_the_ends_that_it_planned(
    call: Call, tenants: Tenants, file: Path
) -> None:
    """Even when the table has changed meanwhile; answered tenants get nothing again."""
    tenants.instead = [lambda _m, _p, tenant: Answer(202, {"status": "accepted"}, {}) if tenant == "acme" else None]
    assert call("import-somabrain", str(file), "--run", "first", "--yes").code == 1
    tenants.instead = []
    tenants.calls.clear()
    file.write_text(f"{HEADER}\n{_line('other', 'deep')}\n")
    outcome = call("import-somabrain", str(file), "--run", "first", "--yes")
    assert outcome.code == 0, outcome.err
    assert [tenant for _, _, tenant, _, _ in tenants.calls] == ["acme"]
    assert tenants.applied == {"acme": 1, "globex": 1, "initech": 1}


def test_a_continued_import_still_says_that_rows_are_wrong(call: Call, tenants: Tenants, file: Path) -> None:
    """Though the table is not read again."""
    with file.open("a") as more:
        more.write("short,deep\n")
    tenants.instead = [lambda _m, _p, tenant: Answer(202, {"status": "accepted"}, {}) if tenant == "acme" else None]
    assert call("import-somabrain", str(file), "--run", "first", "--yes").code == 1
    tenants.instead = []
    outcome = call("import-somabrain", str(file), "--run", "first", "--yes")
    assert outcome.out.startswith("run first: of 3 tenants 3 done")
    assert "1 rows are wrong and are not imported; the others were imported" in outcome.err
    assert outcome.code == 1


async def test_a_row_whose_end_has_come_is_not_sent() -> None:
    """A run that was continued late wakes nobody late."""
    tenants = Tenants()
    target = Target("acme", ["deep", NOW])
    assert await ImportRow(lambda: NOW).send(tenants, HEAD, target, old=False) == Result(done=True, code="ended_before")
    assert tenants.calls == []
    sent = await ImportRow(lambda: NOW - 1).send(tenants, HEAD, target, old=False)
    assert sent is not None
    assert sent.done
    assert [body["ttl_seconds"] for _, _, _, body, _ in tenants.calls] == [0.001]


async def test_a_command_that_the_log_has_with_an_earlier_ttl_is_looked_up() -> None:
    """Its answer was lost; a second one would be refused, since less time is left."""
    tenants = Tenants()
    target = Target("acme", ["deep", NOW])
    first = await ImportRow(lambda: NOW - MINUTE).send(tenants, HEAD, target, old=False)
    tenants.instead = [once(problem(422, "idempotency_conflict", "another decision"), method="POST")]
    tenants.calls.clear()
    again = await ImportRow(lambda: NOW - 1).send(tenants, HEAD, target, old=False)
    assert [method for method, *_ in tenants.calls] == ["POST", "GET"]
    assert again is not None
    assert first is not None
    assert (again.done, again.operation_id) == (True, first.operation_id)


@pytest.mark.parametrize("dsn", ["not a dsn s3cret", "postgresql://reader:s3cret@[::1", "host=x color=s3cret"])
def test_a_dsn_that_cannot_be_parsed_is_not_shown(call: Call, dsn: str) -> None:
    """It may have a password anywhere."""
    outcome = call("import-somabrain", "--dsn", dsn, "--dry-run")
    assert outcome.code == 2
    assert "--dsn: it is neither a URL (postgresql://user@host:5432/database) nor key=value pairs" in outcome.err
    assert "s3cret" not in outcome.out + outcome.err


@pytest.mark.parametrize("value", ["abc", "1.5"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_time_limit_that_is_no_number_is_told(call: Call, value: str, more: tuple[str, ...]) -> None:
    """Without the rest of the DSN."""
    pytest.importorskip("psycopg")
    outcome = call("import-somabrain", "--dsn", f"host=x password=s3cret connect_timeout={value}", "--yes", *more)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--dsn: connect_timeout must be a whole number of seconds" in outcome.err
    assert "s3cret" not in outcome.err


@pytest.mark.parametrize("arguments", [(), ("states.csv", "--dsn", "host=x")])
def test_the_table_is_in_one_place(call: Call, arguments: tuple[str, ...]) -> None:
    """A file or a database."""
    outcome = call("import-somabrain", *arguments)
    assert outcome.code == 2
    assert "give either a FILE or --dsn" in outcome.err


@pytest.mark.parametrize("table", ["x; DROP TABLE y", "a.b.c", '"quoted"', ""])
def test_a_table_has_a_plain_name(call: Call, table: str) -> None:
    """Nothing else of SQL."""
    outcome = call("import-somabrain", "--dsn", "host=x", "--table", table, "--dry-run")
    assert (outcome.code, "--table: it must be a name" in outcome.err) == (2, True)
