"""The page of errors, made from the catalog that the answers are made from."""

from typing import Final

from api.errors.catalog import KINDS
from api.errors.problems import type_of
from docs.generator.markdown import table

_INTRO: Final = """\
# Errors

For authors of clients. This page lists each error code of the API, with its cause and its cure.

Every error is a problem document (RFC 9457) with `Content-Type: application/problem+json`:

- `code` and `type` name the kind of error. Programs read these.
- `title` and `detail` are for people and may change. `detail` describes this one case.
- `errors` names the wrong fields.
- `instance` is the request id. Search the API's log for it.

"""


def errors_page() -> str:
    """Return the page of errors."""
    codes = sorted(KINDS, key=lambda code: (KINDS[code].status, code))
    rows = [(str(KINDS[code].status), f"[`{code}`](#{code})", f"`{type_of(code)}`") for code in codes]
    entries = [
        f"\n## {code}\n\n{kind.status}: {kind.title}.\n\nCause: {kind.cause}\n\nCure: {kind.cure}\n"
        for code, kind in ((code, KINDS[code]) for code in codes)
    ]
    return _INTRO + table(("status", "code", "type"), rows) + "".join(entries)
