"""A file of tenants' own policies: one JSON object a line, with `tenant`, `policy_version` and `policy`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json, to_json

from schemas.domain.policy import InvalidDocumentError, parse_policy
from sleepctl.mass.targets import Flaws, Numbered, Target, tenant_flaw, text_of
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

FIELDS: Final = ("tenant", "policy_version", "policy")


def policies_in(file: Path, *, any_version: bool) -> Numbered:
    """Return the tenants in a file. Each is given its policy, and the version that the policy replaces.

    Args:
        file: the file.
        any_version: whether `policy_version` may be absent.

    Raises:
        CommandError: naming each line that is wrong, with the wrong fields, and if there is no policy; exit status 2.
    """
    flaws = Flaws(file, "Mend these lines and give the file again.")
    targets: Numbered = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text_of(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            target = _target(line, any_version=any_version)
        except (ValueError, InvalidDocumentError) as error:
            flaws.add(number, str(error))
            continue
        if (first := lines.setdefault(target.tenant, number)) != number:
            flaws.add(number, f"tenant {target.tenant} is on line {first} already")
            continue
        targets.append((number, target))
    flaws.require_none()
    if not targets:
        raise CommandError(f"{file} has no policy", WRONG_SETTINGS)
    return targets


def _target(line: str, *, any_version: bool) -> Target:
    """Return the target of a line.

    Raises:
        ValueError: with what is wrong.
        InvalidDocumentError: with the wrong fields of the policy.
    """
    try:
        document = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        msg = f"not JSON: {error}"
        raise ValueError(msg) from None
    if not isinstance(document, dict) or not document.keys() <= set(FIELDS):
        msg = f"not an object of {', '.join(FIELDS)}"
        raise ValueError(msg)
    if (flaw := tenant_flaw(document.get("tenant"))) is not None:
        raise ValueError(flaw)
    version = document.get("policy_version")
    if not (version is None and any_version) and (type(version) is not int or version < 0):
        msg = "policy_version must be the number of the version that is replaced (--any-version replaces any)"
        raise ValueError(msg)
    if not isinstance(document.get("policy"), dict):
        msg = "policy must be an object"
        raise ValueError(msg)  # noqa: TRY004 - as the others
    parse_policy(document["policy"])
    return Target(document["tenant"], [document["policy"], version])


async def write_policies(file: Path, policies: AsyncIterator[dict[str, Any]], *, replace: bool) -> int:
    """Write policies to a file that appears when it is complete, and return how many there are.

    Args:
        file: the file.
        policies: objects with the fields of a line.
        replace: whether the file may be there already.

    Raises:
        CommandError: if it is there and may not be, or it cannot be written.
    """
    if not replace and await asyncio.to_thread(file.exists):
        raise CommandError(f"{file} is there already; give --replace, or name another file", WRONG_SETTINGS)
    unfinished = file.with_name(f".{file.name}.unfinished")
    count = 0
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            async for policy in policies:
                output.write(to_json({name: policy[name] for name in FIELDS}) + b"\n")
                count += 1
        unfinished.replace(file)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return count
