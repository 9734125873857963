"""What was moved to new topics, how to go on, and how to go back."""

from typing import Final

from pydantic_core import to_json

from schemas.settings import Settings
from sleepctl.ui.output import console
from worker.recovery.move.move import MoveReport

_SHOWN: Final = 20


def how_to_go_on(old: Settings, new: Settings) -> dict[str, str]:
    """Return the settings that workers, APIs and `sleepctl` need after the move.

    Emitters go on writing to the old ingress topics, which workers read on where they were.
    """
    settings = {
        "SLEEP_TOPIC_PREFIX": new.topic_prefix,
        "SLEEP_REDIS_PREFIX": new.redis_prefix,
        "SLEEP_PARTITIONS": str(new.partitions),
    }
    if old.ingress is None:
        settings["SLEEP_INGRESS"] = to_json([{"topic": old.topics.breakers}, {"topic": new.topics.breakers}]).decode()
    return settings


def how_to_go_back(old: Settings) -> str:
    """Return how to go back to the old topics."""
    return (
        "to go back: stop the new workers and APIs, and start them with "
        f"SLEEP_TOPIC_PREFIX={old.topic_prefix} SLEEP_REDIS_PREFIX={old.redis_prefix} "
        f"SLEEP_PARTITIONS={old.partitions}; what happened since the move is then forgotten"
    )


def print_move(old: Settings, new: Settings, report: MoveReport, *, dry_run: bool) -> None:
    """Print what was moved, or would be."""
    out = console()
    for difference in report.differences[:_SHOWN]:
        who = "the partition" if difference.tenant is None else f"tenant {difference.tenant}"
        out.print(f"new partition {difference.partition}, {who}, {difference.where}: {difference.what}")
        for name, (expected, actual) in difference.fields.items():
            out.print(f"  {name}: before {expected}, after {actual}")
    if len(report.differences) > _SHOWN:
        out.print(f"… and {len(report.differences) - _SHOWN} more; `--json` lists them all")
    states = ", ".join(f"{state} {count:,}" for state, count in report.states.items()) or "none"
    out.print(
        f"{old.topic_prefix}.* with {old.partitions} partitions {'would go' if dry_run else 'went'} to "
        f"{new.topic_prefix}.* with {new.partitions}: {report.tenants:,} tenants ({states}), {report.policies:,} "
        f"policies, {report.commands:,} remembered commands, {report.rules} rules, in {report.seconds:.1f} s"
    )
    for each in report.partitions:
        found = ", written by an earlier run" if each.found else ""
        out.print(f"  partition {each.partition}: {each.tenants:,} tenants, {each.commands:,} commands{found}")
    if dry_run or report.differences:
        return
    out.print("all of them read equal before and after. Start workers and APIs with these settings:")
    for name, value in how_to_go_on(old, new).items():
        out.print(f"  {name}={value}")
    out.print(how_to_go_back(old))
