"""The table of every code that a problem may have, with its cause and cure for people."""

from typing import Final, NamedTuple

from schemas.http.early_answers import (
    HEAD_TOO_LARGE,
    MALFORMED,
    METHOD_NOT_IMPLEMENTED,
    OVERLOADED,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_UNREAD,
    VERSION_NOT_SUPPORTED,
)
from schemas.wire.operation import RefusalCode


class Kind(NamedTuple):
    """What is the same in every problem of one code: the status, and what it means, for people.

    `type` is a registered problem type where one fits; else the type is made of the code.
    """

    status: int
    title: str
    cause: str
    cure: str
    type: str | None = None


REFUSALS: Final[dict[RefusalCode, Kind]] = {
    "ttl_out_of_range": Kind(
        422,
        "The TTL is out of range",
        "`ttl_seconds` is not above 0, or above the `max_ttl_seconds` of the tenant's policy. Or it is missing for "
        "a pin.",
        "Use a shorter time; `GET /api/brain/sleep_policy` shows the longest. To sleep longer, send the command again "
        "before the time ends.",
    ),
    "invalid_policy": Kind(
        422,
        "The policy is invalid",
        "A field of the policy is unknown, of a wrong type or outside its limits, or two fields contradict each other.",
        "Correct the fields that `errors` names. The page on records lists all fields with their limits.",
    ),
    "idempotency_conflict": Kind(
        422,
        "The id was used for another decision",
        "The same `Idempotency-Key` was used before with another command: another type, target, time or policy.",
        "Use a new key for a new command. `operation_id` finds what the first one did.",
    ),
    "too_many_operations": Kind(
        409,
        "The tenant has too many live operations",
        "The tenant has 32 operations that have not ended.",
        "Cancel some that `GET /api/util/sleep` lists, or wait until one ends.",
    ),
    "not_running": Kind(
        409,
        "The operation is not running",
        "The operation to cancel has ended already, by itself or by another cancel, or never ran.",
        "Nothing to do: `GET` the operation to see how it ended.",
    ),
    "version_conflict": Kind(
        412,
        "The policy has another version",
        "Somebody changed the policy after the version that `If-Match` names was read.",
        "`GET` the policy again, apply your change to it, and send the `ETag` of that version as `If-Match`.",
    ),
    "too_late": Kind(
        503,
        "The command reached the log too late",
        "More than 30 seconds of log time passed between the request and the log. The command was refused, because "
        "it may no longer be wanted.",
        "Send the command again, with a new key if it had one. If it happens twice, check Kafka.",
    ),
    # The rest never answer a command of this API; the table is whole so that none of them could be a crash.
    "duplicate_operation": Kind(
        409,
        "The command was sent before",
        "A command with this id is known. Over HTTP a repeat gets the first answer, so only other producers see "
        "this code.",
        "Nothing to do.",
    ),
    "clock_skew": Kind(
        422,
        "The event's time is too far ahead",
        "`occurred_at` of a breaker event is more than 60 seconds ahead of the log.",
        "Set the emitter's clock, and send the event again with the right time.",
    ),
    "stale_event": Kind(
        409,
        "A later event was seen before",
        "The log has an event of the same breaker and instance with a later `occurred_at`.",
        "Nothing to do: the later event decides.",
    ),
    "too_many_claims": Kind(
        409,
        "The tenant has too many breaker claims",
        "The tenant has 256 breaker claims, or 48 KiB of names and causes, and none of them can be replaced.",
        "Look for an emitter that uses a new instance name each time. Old claims end with their leases.",
    ),
}

_SERVICE_AWAY: Final = (
    "Try again after `Retry-After`. If the request was a command, `detail` says that nothing was published. "
    "`GET /status` shows the finding."
)

KINDS: Final[dict[str, Kind]] = {
    **{str(code): kind for code, kind in REFUSALS.items()},
    MALFORMED.code: Kind(
        MALFORMED.status.value,
        MALFORMED.title,
        "Its body is not JSON or is incomplete. Or a header is missing, present twice or invalid. Or two programs may "
        "parse its framing or its path differently, as with `%2f` in a path.",
        "Read `detail` and correct the request. The same request will always be refused.",
    ),
    "unauthenticated": Kind(
        401,
        "Authentication is needed",
        "There is no `Authorization: Bearer` header, or it has no token.",
        "Send a token of the configured issuer.",
    ),
    "invalid_token": Kind(
        401,
        "The token is not accepted",
        "Its signature, issuer, audience, times, tenant or scopes are not valid. If the signature is valid, `detail` "
        "says which of the others is not.",
        "Get a new token. If every new one fails, compare `SLEEP_JWT_ISSUER`, `SLEEP_JWT_AUDIENCE` and "
        "`SLEEP_JWT_JWKS` with the issuer's.",
    ),
    "forbidden": Kind(
        403,
        "Policy does not allow this",
        "The authorisation policy refused the request: a scope is missing, or the tenant is not the token's.",
        "`reasons` says what is missing. `decision_id` finds the decision in the policy's own log.",
    ),
    "not_found": Kind(404, "There is no such resource", "The path is unknown.", "`GET /docs` lists the paths."),
    "unknown_operation": Kind(
        404,
        "The operation is unknown",
        "The tenant has no operation with this id, or the operation ended more than an hour ago. Operations of other "
        "tenants are unknown too.",
        "Compare the id with the `Location` of the answer that gave it, and the tenant with the token's. If both are "
        "right, Redis may have gone back: ask again in some seconds, or repeat the command under its key.",
    ),
    "method_not_allowed": Kind(
        405,
        "The resource does not know this method",
        "The path is right, the method is not.",
        "Use one of the methods in `Allow`.",
    ),
    "request_timeout": Kind(
        408,
        "The body did not arrive in time",
        "The body was not complete after 10 seconds.",
        "Send the whole body at once. If you did, check the network.",
    ),
    "body_too_large": Kind(
        413,
        "The body is too large",
        "The body, or the event made from it, has more than 65,536 bytes.",
        "Send a smaller body, or a smaller batch.",
    ),
    "unsupported_media_type": Kind(
        415,
        "The body is of a type that is not read",
        "`Content-Type` is missing or not JSON, or the body is compressed. Breaker events may come without a type.",
        "Send `Content-Type: application/json` without `Content-Encoding`; breaker events as "
        "`application/cloudevents+json` or `application/cloudevents-batch+json`.",
    ),
    "invalid_request": Kind(
        422,
        "The request is invalid",
        "A field of the body, a parameter or a header is missing, unknown or outside its limits.",
        "Correct what `errors` names.",
    ),
    "precondition_required": Kind(
        428,
        "If-Match is needed",
        "A change of the policy must say which version it replaces.",
        "`GET` the policy and send its `ETag` as `If-Match`. `*` overwrites any version.",
    ),
    "quota_exceeded": Kind(
        429,
        "The rate limit is exceeded",
        "The tenant, the subject or the operator sent more such requests than `SLEEP_RATE_LIMITS` allows. "
        "`violated-policies` names the budget; `refused` means that too many requests of the subject were refused.",
        "Wait for `Retry-After`, and send fewer requests at once. A batch that is larger than the limit never passes: "
        "send it in parts. For `refused`, correct the requests that were refused. A cancel and mode `active` have the "
        "budget `wake`; they pass even if `refused` is used up.",
        "https://iana.org/assignments/http-problem-types#quota-exceeded",
    ),
    "too_many_in_flight": Kind(
        429,
        "Too many requests are in flight",
        "The subject, its tenant or all callers have the maximum number of requests under way at this process.",
        "Wait for answers before you send more. Try again after `Retry-After`.",
    ),
    "too_many_streams": Kind(
        429,
        "Too many event streams are open",
        "The tenant, or this process, has the maximum number of event streams.",
        "Close unused streams, and share one stream among several readers. Try again after `Retry-After`.",
    ),
    TOO_MANY_UNREAD.code: Kind(
        TOO_MANY_UNREAD.status.value,
        TOO_MANY_UNREAD.title,
        "The client's address has more than 8 MiB of unread answers, on all its connections together. `GET` and `HEAD` "
        "are refused. Commands and probes are not.",
        "Read the answers, or close their connections. Try again after `Retry-After`. The server closes a connection "
        "whose answer is not read within 30 seconds.",
    ),
    HEAD_TOO_LARGE.code: Kind(
        HEAD_TOO_LARGE.status.value,
        HEAD_TOO_LARGE.title,
        "The request line and the headers have more than 64 KiB, or there are more than 128 headers.",
        "Send fewer or shorter headers. Remove needless claims from the token.",
    ),
    "internal_error": Kind(
        500,
        "Something failed here",
        "A defect of this service.",
        "Search the log for the request id of `instance`, and report the lines.",
    ),
    METHOD_NOT_IMPLEMENTED.code: Kind(
        METHOD_NOT_IMPLEMENTED.status.value,
        METHOD_NOT_IMPLEMENTED.title,
        "The request asks for a tunnel (`CONNECT`). This server is not a proxy.",
        "Check the client's proxy settings: the client takes this server for its proxy.",
    ),
    VERSION_NOT_SUPPORTED.code: Kind(
        VERSION_NOT_SUPPORTED.status.value,
        VERSION_NOT_SUPPORTED.title,
        "The client speaks HTTP/2 without asking first (prior knowledge), or another version than HTTP/1.1 and 1.0.",
        "Send HTTP/1.1. A client that asks for HTTP/2 with `Upgrade: h2c` is served as HTTP/1.1.",
    ),
    OVERLOADED.code: Kind(
        OVERLOADED.status.value,
        OVERLOADED.title,
        "All clients together have more than 64 MiB of unread answers: `GET` and `HEAD` are refused, commands and "
        "probes "
        "are not. Or a page without a token gets too many requests. Or too many pages of the audit or of dead letters "
        "are read at once.",
        "Try again after `Retry-After`. The log line `answers_unread` names the addresses.",
    ),
    TOO_MANY_CONNECTIONS.code: Kind(
        TOO_MANY_CONNECTIONS.status.value,
        TOO_MANY_CONNECTIONS.title,
        "The client's address, or the process, has as many connections as it may. `/healthz` and `/readyz` are "
        "answered all the same.",
        "Close connections, or use them again; try again after `Retry-After`. `SLEEP_API_CONNECTIONS` and "
        "`SLEEP_API_CONNECTIONS_PER_ADDRESS` are the bounds; the log line `connections_refused` names the addresses.",
    ),
    "outcome_unknown": Kind(
        503,
        "The outcome is unknown",
        "Kafka did not acknowledge the command, or the breaker events, in time. It may have stored them. Or the "
        "command was published, and Redis failed before its outcome came.",
        "`GET` the `Location`, and repeat that while it says `outcome_unknown`, or 404 for some seconds. With an "
        "`Idempotency-Key` it is safe to send the command again. Breaker events have no `Location`: send the same "
        "events again, with the same `time`.",
    ),
    "kafka_unavailable": Kind(
        503,
        "Kafka is unavailable",
        "Kafka is unavailable, so nothing can be published or streamed. Or a partition of a topic cannot be read, so "
        "that a page of the audit would lack rows. Or too many clients read the history of a "
        "stream "
        "at once.",
        _SERVICE_AWAY,
    ),
    "redis_unavailable": Kind(
        503,
        "The data in Redis is unavailable",
        "Redis is unavailable. Or it answers and lacks the data of the tenant's partition, which was lost or is being "
        "rebuilt.",
        f"{_SERVICE_AWAY} If that shows no finding, `detail` names the partition without data, and the request's log "
        "line has the reason.",
    ),
    "opa_unavailable": Kind(
        503,
        "The authorisation policy is unavailable",
        "OPA is unavailable or slow, or its answer has no boolean `allow`. Access is denied then.",
        _SERVICE_AWAY,
    ),
    "jwks_unavailable": Kind(
        503,
        "The keys of the token's issuer are unavailable",
        "The token names an unknown key, and the keys of the issuer cannot be read.",
        _SERVICE_AWAY,
    ),
    "http_error": Kind(
        400,
        "The request was refused",
        "The HTTP framework refused the request.",
        "Read `detail`.",
    ),
}
"""Every code; a problem of any other is a defect."""
