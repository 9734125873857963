"""Field types of all models: valid JSON numbers, strings and ids (specification.md#events)."""

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from schemas.domain.state import BREAKER_STATE_PATTERN

IDENTIFIER_PATTERN: Final = r"^[ -~]{1,128}$"
TENANT_PATTERN: Final = r"^[A-Za-z0-9._:@-]{1,128}$"
PREFIX_PATTERN: Final = r"^[A-Za-z0-9._-]{1,64}$"
OPA_PATTERN: Final = r"^(embedded|https?://.+)$"
# Control characters of Unicode category Cc; lone surrogates never pass the JSON decoder.
NO_CONTROL_PATTERN: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
BREAKER_PATTERN: Final = r"^[^@\x00-\x1f\x7f-\x9f]*$"
# All but leap days, so that nearly all that a schema can say of a time is in it; there is no year 0.
TIME_PATTERN: Final = (
    r"^(000[1-9]|00[1-9]\d|0[1-9]\d{2}|[1-9]\d{3})-"
    r"((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|[12]\d))"
    r"[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$"
)
POSITION_PATTERN: Final = r"^[0-9]+:[0-9]+$"
TRANSITION_PATTERN: Final = r"^[0-9]+:[0-9]+:[0-9]+$"
NATURAL_PATTERN: Final = r"^[0-9]+$"
INTEGER_PATTERN: Final = r"^-?[0-9]+$"
OFFSETS_PATTERN: Final = r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$"
HEX_PATTERN: Final = r"^[0-9a-f]+$"
IN_WORDS: Final = {
    IDENTIFIER_PATTERN: "1 to 128 printable ASCII characters",
    TENANT_PATTERN: "1 to 128 of A-Z a-z 0-9 . _ : @ -",
    PREFIX_PATTERN: "1 to 64 of A-Z a-z 0-9 . _ -",
    OPA_PATTERN: "`embedded`, or a URL with http:// or https://",
    NO_CONTROL_PATTERN: "free of control characters",
    BREAKER_PATTERN: "free of @ and control characters",
    BREAKER_STATE_PATTERN: (
        "`closed`, `open`, `half_open`, `forced_open`, `disabled` or `metrics_only`, in any case, with or without "
        "hyphens, underscores and spaces"
    ),
    TIME_PATTERN: "an RFC 3339 time (2026-01-31T12:00:00Z)",
    POSITION_PATTERN: "partition:offset",
    TRANSITION_PATTERN: "partition:offset:index",
    NATURAL_PATTERN: "decimal digits",
    INTEGER_PATTERN: "decimal digits",
    OFFSETS_PATTERN: "offsets and ranges of them, with commas between",
    HEX_PATTERN: "hexadecimal digits",
}
"""What each pattern allows, in words that follow `must be`."""

MAX_NAME: Final = 200
"""Longest name of a breaker or of its instance, in characters."""
MAX_TEXT: Final = 256
"""Longest text for people, in characters."""
MAX_SECONDS: Final = 2_592_000
_DECIMALS: Final = 3
_MORE_DECIMALS: Final = re.compile(r"(\.\d{9})\d+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _integer(value: Any) -> Any:
    """Return a JSON number without a fraction as an int (`1.0` is 1). Other values are refused later."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is int:
        _double(value)
    return value


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        msg = "the number fits no double"
        raise ValueError(msg) from None


def _number(value: Any) -> Any:
    """Accept a finite JSON number as a float; a boolean is never a number."""
    if type(value) is int:
        value = _double(value)
    if type(value) is float and not math.isfinite(value):
        msg = "the number is not finite"
        raise ValueError(msg)
    return value


def milliseconds(seconds: float) -> int:
    """Return a duration in whole milliseconds, rounded to the nearest.

    Raises:
        ValueError: if the duration has more than 3 decimals.
    """
    # repr gives the shortest decimal of this double, which is what the sender wrote.
    exponent = Decimal(repr(seconds)).normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_DECIMALS:
        msg = "more than 3 decimals"
        raise ValueError(msg)
    return round(seconds * 1000)


def _duration(value: Any) -> Any:
    value = _number(value)
    if type(value) is float and 0 <= value <= MAX_SECONDS:
        milliseconds(value)
    return value


def seconds(duration_ms: int) -> int | float:
    """Return milliseconds as JSON seconds: an integer without a fraction."""
    whole_seconds, remainder = divmod(duration_ms, 1000)
    return duration_ms / 1000 if remainder else whole_seconds


def time_ms(time: str) -> int:
    """Return an RFC 3339 time in milliseconds since the epoch, rounded down; `:60` is the second before it.

    Raises:
        ValueError: if there is no such day or hour.
    """
    spelled = time.upper()
    if spelled[17:19] == "60":
        spelled = f"{spelled[:17]}59{spelled[19:]}"
    return (datetime.fromisoformat(spelled) - _EPOCH) // timedelta(milliseconds=1)


def _time(value: str) -> str:
    """Return a time with at most 9 decimals, which all versions can read."""
    time_ms(value)
    return _MORE_DECIMALS.sub(r"\1", value)


def absent_if_null(default: Any) -> BeforeValidator:
    """Read null for an optional field as its default."""
    return BeforeValidator(lambda value: default if value is None else value)


Integer = Annotated[int, BeforeValidator(_integer), Field(strict=True)]
Number = Annotated[float, BeforeValidator(_number), Field(strict=True)]
Seconds = Annotated[float, BeforeValidator(_duration), Field(strict=True, ge=0, le=MAX_SECONDS)]
TenantId = Annotated[str, Field(strict=True, pattern=TENANT_PATTERN)]
Identifier = Annotated[str, Field(strict=True, pattern=IDENTIFIER_PATTERN)]
Text = Annotated[str, Field(strict=True, max_length=MAX_TEXT, pattern=NO_CONTROL_PATTERN)]
BreakerName = Annotated[str, Field(strict=True, min_length=1, max_length=MAX_NAME, pattern=BREAKER_PATTERN)]
InstanceName = Annotated[
    str,
    Field(strict=True, max_length=MAX_NAME, pattern=NO_CONTROL_PATTERN),
    absent_if_null(""),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "maxLength": MAX_NAME, "pattern": NO_CONTROL_PATTERN}, {"type": "null"}]}
    ),
]
Pattern = Annotated[str, Field(strict=True, min_length=1, max_length=200, pattern=NO_CONTROL_PATTERN)]
Time = Annotated[str, Field(strict=True, pattern=TIME_PATTERN), AfterValidator(_time)]
