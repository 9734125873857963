"""Random request bodies between sense and rubbish."""

import json
import random
from typing import Any, Final

SLEEP: Final = {"target_state": "deep", "ttl_seconds": 60}
BODIES: Final = (
    ("POST", "/api/util/sleep"),
    ("POST", "/api/brain/sleep_mode"),
    ("PUT", "/api/brain/sleep_policy"),
    ("POST", "/api/brain/sleep_policy/preview"),
    ("POST", "/api/breakers/events"),
    ("POST", "/api/breakers/alertmanager"),
)


def random_body(random_: random.Random) -> bytes:
    """A body between sense and rubbish: random fields, values of all kinds, sometimes bytes turned."""
    names = [
        *SLEEP,
        "override",
        "async_mode",
        "reason",
        "trace_id",
        "floor",
        "ceiling",
        "breakers",
        "schedule",
        "extra",
    ]
    names += ["enforce", "max_ttl_seconds", "ramp_seconds", "specversion", "id", "source", "type", "subject", "data"]
    document: Any = {random_.choice(names): _value(random_, 3) for _ in range(random_.randrange(6))}
    if random_.random() < 0.3:
        document |= random_.choice([SLEEP, {"target_state": "deep"}, {"floor": "light"}])
    if random_.random() < 0.1:
        document = _value(random_, 3)
    body = bytearray(json.dumps(document, ensure_ascii=random_.random() < 0.5).encode("utf-8", "surrogatepass"))
    if random_.random() < 0.2 and body:
        body[random_.randrange(len(body))] = random_.randrange(256)
    return bytes(body)


def _value(random_: random.Random, depth: int) -> Any:  # noqa: ANN401, PLR0911 - any JSON, one case a kind
    kind = random_.randrange(10 if depth else 8)
    match kind:
        case 0 | 1:
            return random_.choice(
                ["active", "light", "deep", "freeze", "open", "", "*", "\u0000", "\ud800", "é", "a" * 300]
            )
        case 2 | 3:
            return random_.choice([0, 1, -1, 60, 1.5, 0.0001, 1e308, 10**400, -0.0, 2**63, float("nan"), float("inf")])
        case 4:
            return random_.random() < 0.5
        case 5:
            return None
        case 6 | 7:
            return random_.choice(["sleep.breaker.v1", "1.0", "acme", "globex", "2026-01-01T00:00:00Z"])
        case 8:
            return [_value(random_, depth - 1) for _ in range(random_.randrange(4))]
        case _:
            keys = ["match", "open", "half_open", "quorum", "lease_seconds", "deepen", "wake", "breaker", "state", "K"]
            return {random_.choice(keys): _value(random_, depth - 1) for _ in range(random_.randrange(4))}
