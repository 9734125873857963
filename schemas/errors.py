"""Errors in one line, as logs and findings show them."""


def describe(error: BaseException) -> str:
    """Return an error's type, and its text if it has one and does not name the type itself."""
    name, text = type(error).__name__, " ".join(str(error).split())
    if not text or text.startswith(name):
        return text or name
    return f"{name}: {text}"
