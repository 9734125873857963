"""The tenants of a run: those of a file, or those that the API lists."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from schemas.domain.values import IN_WORDS, TENANT_PATTERN
from sleepctl.io.tenant_pages import Calls, tenant_pages
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError, read_file

SHOWN: Final = 10
"""How many wrong lines an error names."""
_TENANT: Final = re.compile(TENANT_PATTERN.removesuffix("$") + r"\Z")
_OPERATION: Final = re.compile(r"[!-~]{1,128}")


class Target(NamedTuple):
    """A tenant of a run, and what the command is given for it: an operation id, or a policy; None for nothing."""

    tenant: str
    given: Any = None


class Selection(NamedTuple):
    """The tenants of a run.

    Attributes:
        states: how many of them are in each state; tenants without a record are in none.
        broken: how many rows of a table are wrong and became no target.
    """

    targets: list[Target]
    states: Counter[str]
    broken: int = 0


class Flaws:
    """Wrong lines of a file, for one error that names them.

    Args:
        file: the file.
        cure: what to do about them.
    """

    def __init__(self, file: Path, cure: str) -> None:
        self._file = file
        self._cure = cure
        self._wrong_lines: list[tuple[int, str]] = []

    def add(self, line: int, reason: str) -> None:
        """Note what is wrong with a line."""
        self._wrong_lines.append((line, reason))

    def require_none(self) -> None:
        """Refuse the file if a line is wrong.

        Raises:
            CommandError: naming the first lines that are wrong; exit status 2.
        """
        if not self._wrong_lines:
            return
        wrong = sorted(self._wrong_lines)
        shown = "".join(f"\n  line {line}: {reason}" for line, reason in wrong[:SHOWN])
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise CommandError(
            f"{self._file}: {len(wrong)} wrong lines, and nothing was sent. {self._cure}{shown}{more}", WRONG_SETTINGS
        )


Numbered = list[tuple[int, Target]]
"""Targets with the lines of a file that name them."""


def targets_in(file: Path, *, with_operation: bool = False) -> Numbered:
    """Return the tenants in a file, each with the number of its line.

    A line is a tenant, or with `with_operation` a tenant and an operation id with a space between. Empty lines, and
    lines that begin with `#`, are passed over.

    Raises:
        CommandError: naming each line that is wrong or comes twice, and if there is no tenant at all; exit status 2.
    """
    lines: dict[Target, int] = {}
    flaws = Flaws(file, "Mend these lines and give the file again.")
    for number, words in _lines(file):
        if len(words) > 1 + with_operation:
            flaws.add(number, "more than a tenant and an operation id" if with_operation else "more than one tenant")
            continue
        target = Target(words[0], words[1] if len(words) > 1 else None)
        if (flaw := tenant_flaw(target.tenant)) is not None:
            flaws.add(number, flaw)
        elif target.given is not None and _OPERATION.fullmatch(target.given) is None:
            flaws.add(number, "an operation id is 1 to 128 printable ASCII characters")
        elif target in lines:
            flaws.add(number, f"tenant {target.tenant} is on line {lines[target]} already")
        else:
            lines[target] = number
    flaws.require_none()
    if not lines:
        raise CommandError(f"{file} has no tenant", WRONG_SETTINGS)
    return [(line, target) for target, line in lines.items()]


def tenant_flaw(tenant: object) -> str | None:
    """Return why a value is no tenant id, None if it is one."""
    if isinstance(tenant, str) and _TENANT.match(tenant) is not None:
        return None
    return f"{tenant!r} is no tenant id: it must be {IN_WORDS[TENANT_PATTERN]}"


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text_of(file).split("\n"), 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words


def text_of(file: Path) -> str:
    """Return the text in a file.

    Raises:
        CommandError: if it cannot be read, or is not UTF-8.
    """
    try:
        return read_file(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 text: byte {error.start} is wrong", WRONG_SETTINGS) from None


async def listed(api: Calls, state: str | None, *, json: bool) -> Selection:
    """Return all tenants that have a record, or those of them that are in a state now.

    Raises:
        CommandError: with the problem, if the API answers with one.
    """
    states: Counter[str] = Counter()
    targets: dict[Target, None] = {}
    async for page in tenant_pages(api, {} if state is None else {"state": state}, json=json):
        for entry in page["tenants"]:
            # A tenant that changes while the list is read may come twice.
            if (target := Target(entry["tenant_id"])) not in targets:
                targets[target] = None
                states[entry["state"]] += 1
    return Selection(list(targets), states)


async def known(api: Calls, targets: Numbered, file: Path, *, unknown: bool, json: bool) -> Selection:
    """Return the tenants of a file, after a look at the list of those that have a record.

    Args:
        api: lists the tenants.
        targets: those in the file, with their lines.
        file: the file.
        unknown: whether tenants without a record are allowed.
        json: whether a problem is raised as JSON.

    Raises:
        CommandError: naming the lines of tenants without a record; with the problem, if the API answers with one.
    """
    missing = {target.tenant for _, target in targets}
    states: Counter[str] = Counter()
    async for page in tenant_pages(api, {}, json=json):
        for entry in page["tenants"]:
            if entry["tenant_id"] in missing:
                missing.remove(entry["tenant_id"])
                states[entry["state"]] += 1
        if not missing:
            break
    if missing and not unknown:
        flaws = Flaws(file, "Mend these lines, or give --unknown to send to tenants without a record too.")
        for line, target in targets:
            if target.tenant in missing:
                flaws.add(line, f"tenant {target.tenant} is unknown: it has no record")
        flaws.require_none()
    return Selection([target for _, target in targets], states)
