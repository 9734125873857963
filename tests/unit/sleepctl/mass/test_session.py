"""A command over many tenants from the outside: the question, the report, and how a run is continued."""

import json
import os
from pathlib import Path

import pytest

from sleepctl.io.api_client import Answer
from tests.unit.sleepctl.mass.conftest import Call
from tests.unit.sleepctl.mass.fakes import Tenants, once, problem, token_of

PIN = ("send", "mode", "active", "--override", "--ttl", "60")
CONTINUE = "to continue, give the same command with --run wake: no answered command is sent again"
ACCEPTED = Answer(202, {"status": "accepted"}, {})


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_all_tenants_get_the_command(call: Call, tenants: Tenants, runs: Path) -> None:
    """And the report says where the answers are."""
    outcome = call(*PIN, "--all", "--run", "wake", "--yes")
    assert outcome.code == 0, outcome.err
    assert tenants.applied == {"acme": 1, "globex": 1, "initech": 1}
    assert outcome.out.startswith("run wake: of 3 tenants 3 done, 0 refused, 0 unanswered; ")
    assert _lines(outcome.err) == [
        "run wake: mode target_state=active override=True ttl_seconds=60.0: 3 tenants (now freeze 3)",
        f"the run's file is {runs / 'wake.jsonl'}; {CONTINUE}",
    ]
    bodies = [body for _, path, _, body, _ in tenants.calls if path.endswith("sleep_mode")]
    assert bodies == [{"target_state": "active", "override": True, "ttl_seconds": 60.0, "reason": "run wake"}] * 3
    assert {headers["Sleep-Run"] for *_, headers in tenants.calls} == {"wake"}


def test_those_in_a_state_get_it(call: Call, tenants: Tenants) -> None:
    """By the list of the API; each of the four commands can."""
    tenants.states["globex"] = "light"
    tenants.live = {"globex": ["op-1"]}
    for command in (
        ("send", "sleep", "light", "--ttl", "9"),
        ("send", "mode", "light"),
        ("send", "cancel"),
        ("send", "policy", "--default"),
    ):
        outcome = call(*command, "--state", "light", "--yes")
        assert outcome.code == 0, outcome.err
    assert tenants.applied == {"globex": 4}
    policy = next(call for call in tenants.calls if call[1] == "/api/brain/sleep_policy")
    assert (policy[0], policy[4]["If-Match"]) == ("DELETE", "*")


def test_those_in_a_file_get_it(call: Call, tenants: Tenants, tmp_path: Path) -> None:
    """A policy too, with its own file."""
    file, policy = tmp_path / "tenants.txt", tmp_path / "policy.json"
    file.write_text("initech\nacme\n")
    policy.write_text('{"floor": "light"}')
    outcome = call("send", "policy", str(policy), "--file", str(file), "--yes")
    assert outcome.code == 0, outcome.err
    assert tenants.policies == {name: (1, {"floor": "light"}) for name in ("initech", "acme")}


def test_a_file_with_an_unknown_tenant_sends_nothing(call: Call, tenants: Tenants, tmp_path: Path, runs: Path) -> None:
    """Unless that is allowed."""
    file = tmp_path / "tenants.txt"
    file.write_text("acme\ntypo\n")
    outcome = call(*PIN, "--file", str(file), "--yes")
    assert outcome.code == 2
    assert "line 2: tenant typo is unknown" in outcome.err
    assert (tenants.applied, runs.exists()) == ({}, False)
    assert call(*PIN, "--file", str(file), "--yes", "--unknown").code == 0
    assert tenants.applied == {"acme": 1, "typo": 1}


def test_a_dry_run_says_how_many_and_does_nothing(call: Call, tenants: Tenants, runs: Path) -> None:
    """Neither at the API nor on the disk."""
    tenants.states["acme"] = "active"
    outcome = call(*PIN, "--all", "--run", "wake", "--dry-run", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == {
        "run": "wake",
        "command": "mode target_state=active override=True ttl_seconds=60.0",
        "tenants": 3,
        "answered": 0,
        "states": {"active": 1, "freeze": 2},
    }
    assert (tenants.applied, runs.exists()) == ({}, False)


@pytest.mark.parametrize(("typed", "code"), [("3", 0), ("y", 1), ("", 1)])
def test_the_number_is_asked_for(
    call: Call, tenants: Tenants, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    """`y` comes from habit; a number does not."""
    monkeypatch.setattr("sleepctl.mass.session.is_terminal", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda text, **_: typed if text == "type 3 to go on" else text)
    outcome = call(*PIN, "--all")
    assert outcome.code == code
    assert bool(tenants.applied) is (code == 0)
    assert ("nothing was sent" in outcome.err) is (code != 0)


def test_nobody_to_ask_is_a_mistake(call: Call, tenants: Tenants) -> None:
    """In a script `--yes` is needed."""
    outcome = call(*PIN, "--all")
    assert (outcome.code, tenants.applied) == (2, {})
    assert "give --yes to send to 3 tenants" in outcome.err


def test_a_run_is_continued_by_the_same_command(call: Call, tenants: Tenants, runs: Path) -> None:
    """Without choosing the tenants again."""
    tenants.instead = [lambda _m, _p, tenant: ACCEPTED if tenant == "globex" else None]
    first = call(*PIN, "--all", "--run", "wake", "--yes")
    assert first.code == 1
    assert "1 tenants have no answer yet" in first.err
    assert "to continue, give the same command with --run wake: no answered command is sent again" in first.err
    tenants.instead = []
    tenants.states["new"] = "freeze"
    tenants.calls.clear()
    second = call(*PIN, "--all", "--run", "wake", "--yes", "--json")
    assert second.code == 0
    assert [call[2] for call in tenants.calls] == ["globex"]
    report = json.loads(second.out)
    assert (report["tenants"], report["done"], report["file"]) == (3, 3, str(runs / "wake.jsonl"))
    assert call(*PIN, "--all", "--run", "wake").code == 0, "nothing is left, so nothing is asked"
    assert tenants.applied == {"acme": 1, "globex": 1, "initech": 1}


def test_a_run_may_be_a_path(call: Call, tenants: Tenants, tmp_path: Path) -> None:
    """It is named by its file, and how to continue names the path."""
    path = tmp_path / "here" / "wake-7.jsonl"
    tenants.instead = [once(ACCEPTED, times=2, method="POST")]
    outcome = call(*PIN, "--state", "freeze", "--run", str(path), "--yes", "--rate", "100")
    assert outcome.code == 0, outcome.err
    assert path.exists()
    tenants.instead = [once(ACCEPTED, times=100, method="POST")]
    other = tmp_path / "other.jsonl"
    assert f"with --run {other}:" in call(*PIN, "--all", "--run", str(other), "--yes").err


@pytest.mark.parametrize(
    ("arguments", "token", "message"),
    [
        ((*PIN, "--state", "freeze"), "ops", "with all True, and now it is False"),
        (
            ("send", "mode", "active", "--override", "--ttl", "61", "--all"),
            "ops",
            "with ttl_seconds 60.0, and now it is",
        ),
        (("send", "cancel", "--all"), "ops", "with command 'mode', and now it is 'cancel'"),
        ((*PIN, "--all"), "other", "was begun by ops, and the token is other's"),
    ],
)
def test_a_run_has_one_command_and_one_subject(
    call: Call, tenants: Tenants, arguments: tuple[str, ...], token: str, message: str
) -> None:
    """Ids follow from both."""
    assert call(*PIN, "--all", "--run", "wake", "--yes").code == 0
    before = len(tenants.calls)
    outcome = call(*arguments, "--run", "wake", "--yes", SLEEP_TOKEN=token_of(token))
    assert (outcome.code, len(tenants.calls)) == (2, before)
    assert message in outcome.err


def test_a_copy_of_a_run_is_not_another_run(call: Call, tenants: Tenants, tmp_path: Path, runs: Path) -> None:
    """Its ids would be those of another name."""
    call(*PIN, "--all", "--run", "wake", "--yes")
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((runs / "wake.jsonl").read_bytes())
    assert "is the file of the run wake; name it so" in call(*PIN, "--all", "--run", str(copy), "--yes").err
    assert tenants.applied == {"acme": 1, "globex": 1, "initech": 1}


def test_refused_tenants_are_named_and_the_command_fails(call: Call, tenants: Tenants) -> None:
    """The others have it."""
    refused = problem(422, "ttl_out_of_range", "at most 30 s")
    tenants.instead = [lambda _m, _p, tenant: refused if tenant == "acme" else None]
    outcome = call(*PIN, "--all", "--run", "wake", "--yes")
    assert outcome.code == 1
    assert _lines(outcome.out)[1:] == ["ttl_out_of_range: 1", "acme was refused: ttl_out_of_range: at most 30 s"]
    assert "1 tenants were refused; `grep '\"refused\"' " in outcome.err


def test_an_expired_token_says_how_to_continue(call: Call, tenants: Tenants) -> None:
    """With a report of what was done."""
    tenants.instead = [once(problem(401, "invalid_token", "it has expired"), method="POST")]
    outcome = call(*PIN, "--all", "--run", "wake", "--yes")
    assert outcome.code == 1
    assert "get a new one\nto continue, give the same command with --run wake" in outcome.err
    assert "run wake: of 3 tenants" in outcome.out


def test_an_api_that_is_away_sends_nothing(call: Call, tenants: Tenants) -> None:
    """It cannot list the tenants."""
    tenants.instead = [once(problem(503, "redis_unavailable", "Redis does not answer"), times=100)]
    outcome = call(*PIN, "--all", "--yes")
    assert outcome.code == 1
    assert "Redis does not answer" in outcome.err
    assert "nothing was sent" in outcome.err


def test_without_such_a_tenant_there_is_no_run(call: Call, tenants: Tenants, runs: Path) -> None:
    """A count of zero is most likely a mistake."""
    outcome = call(*PIN, "--state", "deep", "--yes")
    assert (outcome.code, tenants.applied, runs.exists()) == (1, {}, False)
    assert "there is no such tenant" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*PIN, "--all", "--state", "deep"), "one of --all, --state and --file"),
        ((*PIN, "--run", "x"), "--run, --yes and --dry-run need --all, --state or --file"),
        ((*PIN, "--yes"), "need --all"),
        ((*PIN, "--dry-run"), "need --all"),
        ((*PIN, "--all", "--unknown"), "--unknown needs --file"),
        ((*PIN, "--all", "--tenant", "acme"), "--tenant is for one tenant"),
        ((*PIN, "--all", "--async"), "--async is for one tenant"),
        (("send", "cancel", "op-1", "--all"), "OPERATION_ID is for one tenant"),
        (("send", "cancel"), "give an OPERATION_ID, or --all"),
        ((*PIN, "--all", "--run", "-x"), "--run: the name must be 1 to 64 of"),
        ((*PIN, "--all", "--run", "./a b.jsonl"), "--run: the name must be"),
        ((*PIN, "--all", "--rate", "0"), "0.1<=x<=10000"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    call: Call, tenants: Tenants, arguments: tuple[str, ...], message: str
) -> None:
    """Before anything is asked."""
    outcome = call(*arguments)
    assert (outcome.code, tenants.calls) == (2, [])
    assert message in outcome.err


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.e30.c", token_of(7), f"{token_of('ops')}.x"])
def test_a_token_without_a_subject_cannot_name_a_run(call: Call, tenants: Tenants, token: str) -> None:
    """The ids follow from the subject. The token is not shown."""
    outcome = call(*PIN, "--all", SLEEP_TOKEN=token)
    assert (outcome.code, tenants.calls) == (2, [])
    assert "it is no JWT with a subject" in outcome.err
    assert token not in outcome.err


def test_a_run_by_name_needs_a_home(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder counts as none, by the specification of these folders."""

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    outcome = call(*PIN, "--all", XDG_STATE_HOME="relative")
    assert outcome.code == 2
    assert "there is no home folder for the file of a run; give --run PATH" in outcome.err


def test_without_a_name_each_run_is_a_new_one(call: Call, tenants: Tenants, runs: Path) -> None:
    """It is named by the command and the time."""
    for _ in range(2):
        assert call(*PIN, "--all", "--yes").code == 0
    names = sorted(os.listdir(runs))  # noqa: PTH208 - names only
    assert len(names) == 2
    assert all(name.startswith("mode-20") for name in names)
    assert tenants.applied == {"acme": 2, "globex": 2, "initech": 2}


@pytest.mark.usefixtures("tenants")
def test_an_interrupt_says_how_to_continue(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a report, with the status of Ctrl-C."""

    async def interrupted(_: object) -> None:
        import asyncio  # noqa: PLC0415 - as above
        import signal  # noqa: PLC0415 - for this test

        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    monkeypatch.setattr("sleepctl.mass.runner.Runner.run", interrupted)
    outcome = call(*PIN, "--all", "--run", "wake", "--yes")
    assert outcome.code == 130
    assert outcome.err.endswith(
        "sleepctl: stopped by Ctrl-C\nto continue, give the same command with --run wake: no answered command is sent "
        "again\n"
    )
    assert "run wake: of 3 tenants 0 done, 0 refused, 3 unanswered" in outcome.out
