"""The rules of `deploy/access` name what the code uses."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from schemas.names import PartitionKeys, Topics, limit_key, reply_channel
from tests.services.secured import PRINCIPAL_RULE

ROOT: Final = Path(__file__).resolve().parents[2]
ACCESS: Final = ROOT / "deploy" / "access"
RULES: Final = (ACCESS / "kafka-acls.txt").read_text(encoding="utf-8")
USERS: Final = {
    line.split()[1].removeprefix("sleep-"): line
    for line in (ACCESS / "redis-users.acl").read_text(encoding="utf-8").splitlines()
}
_IN_SCRIPT: Final = re.compile(r"'([A-Z]{3,})'(?=, | and | or |\))")
# Words of a script that are options of a command.
_OPTIONS: Final = {"WITHSCORES", "LIMIT", "COUNT"}


def commands(user: str) -> set[str]:
    """Return the commands that a user of Redis may send, in capitals."""
    return {word.removeprefix("+").rstrip(")").upper() for word in USERS[user].split() if word.startswith("+")}


@pytest.mark.parametrize(("user", "package"), [("worker", "worker"), ("operator", "worker"), ("api", "api")])
def test_a_user_may_send_each_command_of_its_scripts(user: str, package: str) -> None:
    """Redis asks for the right to each command inside of a script too."""
    scripts = sorted((ROOT / package / "adapters" / "lua").glob("*.lua"))
    used = {name for script in scripts for name in _IN_SCRIPT.findall(script.read_text(encoding="utf-8"))} - _OPTIONS
    assert len(used) > 8
    assert used - commands(user) == set()


def test_the_file_of_users_names_no_password() -> None:
    """Redis refuses the word in its place, so none is in use that others know."""
    assert USERS["default"] == "user default off"
    for name in ("worker", "api", "operator", "replica"):
        assert f" #SHA256_OF_{name.upper()}_PASSWORD " in USERS[name]
        assert ">" not in USERS[name]
        assert "-@all" in USERS[name]


def test_each_key_and_channel_of_the_default_prefix_is_in_a_users_patterns() -> None:
    """Redis compares them as globs, in which a brace is a brace."""
    keys = PartitionKeys("sleep", 3)
    named = [
        *keys.fixed,
        keys.probe,
        keys.operation("acme", "1"),
        keys.receipt("acme", "1"),
        keys.limit("acme", "a", 1),
    ]
    assert all(key.startswith("{sleep:") for key in [*named, limit_key("sleep", "subject", "me", "read", 60)])
    assert reply_channel("sleep", "me").startswith("sleep:reply:")
    assert all("~{sleep:*" in USERS[name] for name in ("worker", "api", "operator"))


def test_the_rules_of_kafka_name_each_topic_of_the_default_prefix() -> None:
    """And no other one."""
    assert set(re.findall(r"--topic (\S+)", RULES)) == set(Topics.of("sleep"))


def test_the_page_of_a_move_adds_each_pattern_of_a_redis_user() -> None:
    """A user without the new prefix would get NOPERM after the move."""
    page = (ROOT / "docs" / "how-to" / "change-the-number-of-partitions.md").read_text(encoding="utf-8")
    for name in ("worker", "api", "operator"):
        patterns = re.findall(r"\([^)]*\)|[~&]\S+", USERS[name].replace("sleep:", "sleep16:"))
        [command] = re.findall(rf"ACL SETUSER sleep-{name} ((?:.*\\\n)*.*)", page)
        assert re.findall("'([^']*)'", command) == patterns


def operations(user: str, topic: str) -> set[str]:
    """Return what a user of Kafka may do with a topic."""
    lines = [line.split() for line in RULES.splitlines() if f"User:sleep-{user} " in line]
    return {
        value
        for words in lines
        for option, value in pairwise(words)
        if option == "--operation" and ("--topic", topic) in pairwise(words)
    }


@pytest.mark.parametrize("topic", ["sleep.events", "sleep.breakers", "sleep.deadletter"])
def test_an_operator_may_redrive_dead_letters(topic: str) -> None:
    """The records of a flood are read again from their ingress topic."""
    assert operations("operator", topic) >= {"Read", "Write"}


def test_a_replica_may_replicate_and_nothing_else() -> None:
    """Redis needs these three commands for it, and no key."""
    assert commands("replica") == {"PSYNC", "REPLCONF", "PING"}
    assert "~" not in USERS["replica"]


@pytest.mark.parametrize(
    ("subject", "user"),
    [
        ("CN=sleep-worker", "sleep-worker"),
        ("CN=sleep-worker,OU=platform,O=Example", "sleep-worker"),
        ("CN=sleep-emitter,OU=CN=sleep-worker", "sleep-emitter"),
        (r"CN=sleep-emitter,O=x\,CN=sleep-worker", "sleep-emitter"),
        (r"O=x\,CN=sleep-worker,CN=sleep-emitter", None),
        (r"CN=sleep-worker\,x", None),
        ("OU=platform,CN=sleep-worker", None),
    ],
)
def test_no_other_part_of_a_certificate_names_the_user(subject: str, user: str | None) -> None:
    """The page has the rule that the tests use."""
    page = (ROOT / "docs" / "how-to" / "secure-kafka-and-redis.md").read_text(encoding="utf-8")
    assert f"`{PRINCIPAL_RULE}`" in page
    found = re.fullmatch(PRINCIPAL_RULE.removeprefix("RULE:").removesuffix("/$1/"), subject)
    assert (found[1] if found else None) == user
