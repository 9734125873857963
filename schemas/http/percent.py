"""What percent-encoding hides: a text whose encoding one reader undoes and another does not has two meanings."""

import re
from string import ascii_letters, digits
from typing import Final

_ENCODED: Final = re.compile(rb"%(..)")
# Letters, digits and -._ mean the same with and without encoding, so that only who hides something encodes them. The
# rest is what some servers take for a separator, or for the end.
_NEVER_ENCODED: Final = frozenset(f"{ascii_letters}{digits}-._/\\\x7f".encode()).union(range(0x20))


def encoding_fault(text: bytes) -> str | None:
    """Return what a text's percent-encoding hides, None where it hides nothing.

    Args:
        text: with two hexadecimal digits behind each `%`.
    """
    for code in _ENCODED.findall(text):
        if int(code, 16) in _NEVER_ENCODED:
            return f"encodes %{code.decode()}; send letters, digits and -._ as they are, and encode no slash"
    try:
        _ENCODED.sub(lambda code: bytes([int(code[1], 16)]), text).decode()
    except UnicodeDecodeError:
        return "is not UTF-8 once its encoding is undone"
    return None
