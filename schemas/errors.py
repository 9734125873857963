"""The base of this package's errors, and helpers that render errors and foreign text for logs and terminals."""


class SchemasError(Exception):
    """The base of all errors of this package."""


def describe(error: BaseException) -> str:
    """Return an error's type and text as one line; the text alone if it begins with the type."""
    name, text = type(error).__name__, " ".join(str(error).split())
    if not text or text.startswith(name):
        return text or name
    return f"{name}: {text}"


def printable(text: str) -> str:
    """Return a text with control and format characters escaped, so that it cannot act on a terminal or a log."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
