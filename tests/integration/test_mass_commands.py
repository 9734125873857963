"""Runs over many tenants, policies to a file and back, and a trial of rules, on real services."""

import json
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.support.administration import sleepctl
from tests.support.installation import ApiClient, Installation
from tests.support.records import sent_breaker

pytestmark = [pytest.mark.once, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

PARTITIONS: Final = 4
COUNT: Final = 60
LIGHT: Final = {"breakers": [{"match": "*", "open": "light"}]}


class Operator:
    """What an operator calls, and the tenants of one test."""

    def __init__(self, installation: Installation, door: ApiClient, folder: Path, prefix: str) -> None:
        self.names = [f"{prefix}-{number}" for number in range(COUNT)]
        self.tenants = folder / "tenants.txt"
        self.tenants.write_text("".join(f"{name}\n" for name in self.names))
        self._installation = installation
        self._environment = {
            "SLEEP_URL": door.url,
            "SLEEP_TOKEN": door.token("platform", "sleep:operate"),
            "XDG_STATE_HOME": str(folder),
        }

    async def freeze(self) -> None:
        """Let a breaker put all to sleep."""
        await self._installation.write(sent_breaker(name, partitions=PARTITIONS) for name in self.names)
        await self._installation.caught_up()

    async def call(self, *arguments: str, code: int = 0) -> str:
        """Return what a command prints."""
        before = dict(self._installation.environment)
        self._installation.environment.update(self._environment)
        try:
            status, out, err = await sleepctl(self._installation, *arguments)
        finally:
            self._installation.environment.clear()
            self._installation.environment.update(before)
        assert status == code, err
        return out

    async def states(self) -> Counter[str]:
        """Count the tenants of the test by their state."""
        listed = json.loads(await self.call("tenants", "--json"))["tenants"]
        return Counter(entry["state"] for entry in listed if entry["tenant_id"] in self.names)


@pytest.fixture
def operator(installation: Installation, door: ApiClient, tmp_path: Path, request: pytest.FixtureRequest) -> Operator:
    """An operator with tenants of their own."""
    return Operator(installation, door, tmp_path, request.node.name[:40])


async def test_each_command_reaches_the_tenants_of_a_file(operator: Operator) -> None:
    """Sleeps are started and cancelled; a pin wakes, and goes again; a policy is set and reset."""
    await operator.freeze()
    assert await operator.states() == {"freeze": COUNT}
    chosen = ("--file", str(operator.tenants), "--yes")
    await operator.call("send", "mode", "active", "--override", "--ttl", "600", *chosen)
    assert await operator.states() == {"active": COUNT}
    await operator.call("send", "mode", "active", "--override", *chosen)
    assert await operator.states() == {"freeze": COUNT}
    await operator.call("send", "policy", "--default", *chosen)

    document = json.loads(await operator.call("send", "sleep", "deep", "--ttl", "600", *chosen, "--json"))
    assert (document["done"], document["refused"]) == (COUNT, 0)
    document = json.loads(await operator.call("send", "cancel", *chosen, "--json"))
    assert (document["done"], document["codes"]) == (COUNT, {"done": COUNT})
    document = json.loads(await operator.call("send", "cancel", *chosen, "--json"))
    assert document["codes"] == {"nothing_to_cancel": COUNT}


async def test_a_ttl_above_the_policy_is_refused_and_the_run_stops(operator: Operator) -> None:
    """After the first tenants, not after all; the tenants sleep on."""
    await operator.freeze()
    pin = ("send", "mode", "active", "--override", "--ttl", "7200", "--file", str(operator.tenants), "--yes")
    document = json.loads(await operator.call(*pin, "--json", code=1))
    assert document["codes"].keys() == {"ttl_out_of_range"}
    assert document["done"] == 0
    assert await operator.states() == {"freeze": COUNT}


async def test_policies_go_to_a_file_and_back(operator: Operator, tmp_path: Path) -> None:
    """Unchanged, changed, and in conflict."""
    await operator.freeze()
    policy, file = tmp_path / "policy.json", tmp_path / "policies.jsonl"
    policy.write_text(json.dumps(LIGHT))
    await operator.call("send", "policy", str(policy), "--file", str(operator.tenants), "--yes")
    assert await operator.states() == {"light": COUNT}
    await operator.call("policies", "export", str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["tenant"] for line in lines if line["tenant"] in operator.names] == sorted(operator.names)

    document = json.loads(await operator.call("policies", "import", str(file), "--yes", "--json"))
    assert document["codes"] == {"unchanged": len(lines)}
    await operator.call("send", "policy", "--default", "--tenant", operator.names[0])
    for line in lines:
        line["policy"]["breakers"][0]["open"] = "deep"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    document = json.loads(await operator.call("policies", "import", str(file), "--yes", "--json", code=1))
    assert (document["done"], document["refused"]) == (len(lines) - 1, 1)
    [conflict] = document["refusals"]
    assert (conflict["tenant"], conflict["code"]) == (operator.names[0], "version_conflict")
    assert await operator.states() == {"deep": COUNT - 1, "freeze": 1}
    await operator.call("policies", "import", str(file), "--yes", "--any-version")
    assert await operator.states() == {"deep": COUNT}


async def test_a_trial_of_rules_says_what_the_rules_then_do(
    operator: Operator, installation: Installation, tmp_path: Path
) -> None:
    """The tenants that it counts are those that change."""
    await operator.freeze()
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"policy": LIGHT}))
    before = json.loads(await operator.call("tenants", "--json"))["counts"]
    trial = json.loads(await operator.call("rules", "apply", str(rules), "--dry-run", "--json"))
    assert json.loads(await operator.call("tenants", "--json"))["counts"] == before, "nothing was written"
    changes = {(change["from"], change["to"]): change["tenants"] for change in trial["changes"]}
    assert changes.keys() == {("freeze", "light")}
    assert changes["freeze", "light"] >= COUNT

    await operator.call("rules", "apply", str(rules))
    await installation.caught_up()
    while (await operator.states()) != {"light": COUNT}:
        await installation.caught_up()
    after = json.loads(await operator.call("tenants", "--json"))["counts"]
    assert before["freeze"] - after["freeze"] == changes["freeze", "light"]
    again = json.loads(await operator.call("rules", "apply", str(rules), "--dry-run", "--json"))
    assert (again["changed"], again["tenants"]) == (0, trial["tenants"])
