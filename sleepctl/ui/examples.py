"""The examples at the end of each command's `--help`."""

from collections.abc import Mapping
from typing import Any, Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "run": ("sleepctl run", "sleepctl run --once"),
    "worker": ("sleepctl worker", "sleepctl worker --processes 2"),
    "api": ("sleepctl api", "sleepctl api --processes 2"),
    "topics create": ("sleepctl topics create",),
    "topics check": ("sleepctl topics check --json",),
    "rules show": ("sleepctl rules show --json",),
    "rules apply": (
        "sleepctl rules apply rules.json --dry-run",
        "sleepctl rules apply rules.json --reason 'no deep sleep on Fridays'",
    ),
    "policies export": ("sleepctl policies export policies.jsonl",),
    "policies import": (
        "sleepctl policies import policies.jsonl --dry-run",
        "sleepctl policies import policies.jsonl --run new-leases --yes",
    ),
    "import-somabrain": (
        "sleepctl import-somabrain states.csv --dry-run",
        "sleepctl import-somabrain --dsn 'host=db dbname=somabrain user=reader' --run first-import",
        "sleepctl import-somabrain states.csv --changed-after 2026-11-30T09:00:00Z --run second-import",
    ),
    "deadletters list": ("sleepctl deadletters list", "sleepctl deadletters list --show 3:17"),
    "deadletters redrive": (
        "sleepctl deadletters redrive --partition 3 --offset 17",
        "sleepctl deadletters redrive --all",
    ),
    "verify": ("sleepctl verify", "sleepctl verify --json"),
    "replay": (
        "sleepctl replay --from 2026-11-30T09:00:00Z --tenant acme",
        "sleepctl replay --rules rules.json --json",
    ),
    "rebuild": ("sleepctl rebuild", "sleepctl rebuild --partition 3 --force"),
    "partitions move": (
        "sleepctl partitions move --partitions 16 --topic-prefix sleep16 --dry-run",
        "sleepctl partitions move --partitions 16 --topic-prefix sleep16",
    ),
    "storm": ("sleepctl storm", "sleepctl storm --rate 2000 --seconds 60 --mix mix.json"),
    "token": (
        "sleepctl token --new-key keys --tenant acme",
        "sleepctl token --key keys/key.pem --scope sleep:operate",
    ),
    "send breaker": ("sleepctl send breaker open --tenant acme --name payments --instance pod-1",),
    "send mode": (
        "sleepctl send mode light --tenant acme",
        "sleepctl send mode active --override --ttl 3600 --state freeze --dry-run",
        "sleepctl send mode active --override --ttl 3600 --all --run wake-everyone",
    ),
    "send sleep": (
        "sleepctl send sleep deep --ttl 60 --tenant acme",
        "sleepctl send sleep light --ttl 600 --file tenants.txt --run drill-7",
    ),
    "send cancel": (
        "sleepctl send cancel 018f3c1e-7a52-7c4e-9d2f-1b6a0c9e4d11 --tenant acme",
        "sleepctl send cancel --all --run end-all-drills",
    ),
    "send policy": (
        "sleepctl send policy policy.json --tenant acme --if-version 3",
        "sleepctl send policy --default --file tenants.txt --run back-to-rules",
    ),
    "state": ("sleepctl state acme",),
    "tenants": ("sleepctl tenants --state freeze", "sleepctl tenants --open-ended --json"),
    "audit": (
        "sleepctl audit acme",
        "sleepctl audit acme --from 2h --kind refusal",
        "sleepctl audit --actor ops@acme --limit 0 --json",
    ),
    "watch": ("sleepctl watch acme globex", "sleepctl watch --state freeze --json"),
    "health": ("sleepctl health",),
    "settings": ("sleepctl settings --json",),
}
"""By the names of a command: that of its group and its own."""


def add_examples(name: str, command: Any) -> None:  # noqa: ANN401 - typer bundles click in some versions
    """Write the examples of a command, or of each command in a group, at the end of its help."""
    for own, each in getattr(command, "commands", {}).items():
        add_examples(f"{name} {own}", each)
    if (lines := EXAMPLES.get(name)) is not None:
        # The first line keeps the others from being joined.
        command.epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
