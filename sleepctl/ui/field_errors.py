"""Wrong fields of an event, named by the options that set them."""

from collections.abc import Mapping

from schemas.wire.cloudevents import UndecodableError


def by_option(error: UndecodableError, options: Mapping[str, str]) -> str:
    """Return what is wrong with an event that this command line made.

    Args:
        error: names each wrong field with a reason; `schemas.wire.validation_errors` has the reasons.
        options: the option of each field, such as `--tenant` of `sleep.breaker.v1.subject`.
    """
    if not error.errors:
        return str(error)
    return "; ".join(
        f"{options[wrong.field]} {wrong.reason}" if wrong.field in options else f"{wrong.field}: {wrong.reason}"
        for wrong in error.errors
    )
