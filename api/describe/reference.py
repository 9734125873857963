"""The reference page of errors, made from the table that answers are made from.

`python -m api.describe.reference` writes it; with `--check` it changes nothing and fails where the page is stale.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from api.describe.kinds import KINDS
from api.describe.problems import type_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
_INTRO: Final = """\
# Errors

Every error of the API is a problem document (RFC 9457) with `Content-Type: application/problem+json`. `code` says what
happened, `detail` what happened this time, `errors` names the fields that are wrong, and `instance` the request id
that finds the request in the log. Programs read `code` or `type`; `title` and `detail` are for people and may change.

This page is made from the code by `make generate`.

| status | code | type |
| --- | --- | --- |
"""


def page() -> str:
    """Return the page."""
    codes = sorted(KINDS, key=lambda code: (KINDS[code].status, code))
    rows = [f"| {KINDS[code].status} | [`{code}`](#{code}) | `{type_of(code)}` |\n" for code in codes]
    entries = []
    for code in codes:
        kind = KINDS[code]
        text = f"{kind.status}: {kind.title}.\n\nCause: {kind.cause}\n\nCure: {kind.cure}\n"
        entries.append(f"\n## {code}\n\n{text}")
    return _INTRO + "".join(rows) + "".join(entries)


def main(arguments: list[str] | None = None, path: Path = PAGE) -> int:
    """Write or check the page and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m api.describe.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is stale")
    check = parser.parse_args(arguments).check
    if path.exists() and path.read_text(encoding="utf-8") == page():
        return 0
    if check:
        sys.stderr.write(f"stale: {path.name}; run `make generate`\n")
        return 1
    path.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
