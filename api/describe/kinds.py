"""The table of every code that a problem may have, with its cause and cure for people."""

from typing import Final, NamedTuple

from schemas.operation import RefusalCode


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
        "`ttl_seconds` is not above 0, or above the `max_ttl_seconds` of the tenant's policy; or it is missing where "
        "a pin needs it.",
        "Give a shorter time; `GET /api/brain/sleep_policy` shows the longest. Sleep longer by asking again in time.",
    ),
    "invalid_policy": Kind(
        422,
        "The policy is invalid",
        "A field of the policy is unknown, of a wrong type or outside its limits, or two fields contradict each other.",
        "Mend the fields that `errors` names; the page on records lists all with their limits.",
    ),
    "idempotency_conflict": Kind(
        422,
        "The id was used for another decision",
        "The same `Idempotency-Key` came before with another command: another type, target, time or policy.",
        "Use a new key for a new command. `operation_id` finds what the first one did.",
    ),
    "too_many_operations": Kind(
        409,
        "The tenant has too many live operations",
        "So many sleeps of this tenant run at once that no more are kept.",
        "Cancel some that `GET /api/util/sleep` lists, or wait until one ends.",
    ),
    "not_running": Kind(
        409,
        "The operation is not running",
        "What was to be cancelled has ended already, by itself or by another cancel, or never ran.",
        "Nothing to do: `GET` the operation to see how it ended.",
    ),
    "version_conflict": Kind(
        412,
        "The policy has another version",
        "Somebody changed the policy after the version that `If-Match` names was read.",
        "`GET` the policy, make the change to what it is now, and send that version's `ETag`.",
    ),
    "too_late": Kind(
        503,
        "The command reached the log too late",
        "More than 30 seconds passed between the request and the log, so the command was dropped rather than applied "
        "to another moment.",
        "Send the command again, with a new key if it had one; look at Kafka if it happens twice.",
    ),
    # The rest never answer a command of this API; the table is whole so that none of them could be a crash.
    "duplicate_operation": Kind(
        409,
        "The command was sent before",
        "A command with this id is known; it is answered as the first was, so only producers without HTTP see this.",
        "Nothing to do.",
    ),
    "clock_skew": Kind(
        422,
        "The event's time is too far ahead",
        "`occurred_at` of a breaker event lies too far in the future of the log.",
        "Set the emitter's clock; the event that says the same with a right time is accepted.",
    ),
    "stale_event": Kind(
        409,
        "A later event was seen before",
        "A breaker's event came after one that happened later.",
        "Nothing to do: the later one holds.",
    ),
    "too_many_claims": Kind(
        409,
        "The tenant has too many breaker claims",
        "More breakers and instances of this tenant are open than are kept.",
        "Look for an emitter whose instance names never repeat; old claims go with their leases.",
    ),
}

_SERVICE_AWAY: Final = "Nothing was published: try again after `Retry-After`. `GET /status` shows what was found."

KINDS: Final[dict[str, Kind]] = {
    **{str(code): kind for code, kind in REFUSALS.items()},
    "malformed_request": Kind(
        400,
        "The request is malformed",
        "Its body is not JSON, or ended before its end.",
        "Read `detail`, mend the request; the same one will never pass.",
    ),
    "unauthenticated": Kind(
        401,
        "Authentication is needed",
        "There is no `Authorization: Bearer` header, or it holds no token.",
        "Send a token of the configured issuer.",
    ),
    "invalid_token": Kind(
        401,
        "The token is not accepted",
        "Its signature, issuer, audience, times, tenant or scopes do not hold; `detail` says which, once the "
        "signature could be checked.",
        "Get a new token. If every new one fails, compare `SLEEP_JWT_ISSUER`, `SLEEP_JWT_AUDIENCE` and "
        "`SLEEP_JWT_JWKS` with the issuer's.",
    ),
    "forbidden": Kind(
        403,
        "Policy does not allow this",
        "The authorisation policy said no: a scope is missing, or the tenant is another one.",
        "`reasons` says what is missing. `decision_id` finds the decision in the policy's own log.",
    ),
    "not_found": Kind(404, "There is no such resource", "The path is unknown.", "`GET /docs` lists the paths."),
    "unknown_operation": Kind(
        404,
        "The operation is unknown",
        "The tenant has no operation with this id, or it ended so long ago that its record is gone. Another tenant's "
        "is just as unknown.",
        "Compare the id with the `Location` of the answer that gave it, and the tenant with the token's.",
    ),
    "method_not_allowed": Kind(
        405,
        "The resource does not know this method",
        "The path is right, the method is not.",
        "Use one of those in `Allow`.",
    ),
    "request_timeout": Kind(
        408,
        "The body did not arrive in time",
        "The body took longer than the API waits for one.",
        "Send the whole body at once; look at the network if it was.",
    ),
    "body_too_large": Kind(
        413,
        "The body is too large",
        "The body, or the event that it makes, has more than 65,536 bytes.",
        "Send less at once; no command needs as much.",
    ),
    "unsupported_media_type": Kind(
        415,
        "The body is of a type that is not read",
        "`Content-Type` is missing or not JSON, or the body is compressed.",
        "Send `Content-Type: application/json` without `Content-Encoding`; breaker events as "
        "`application/cloudevents+json` or `application/cloudevents-batch+json`.",
    ),
    "invalid_request": Kind(
        422,
        "The request is invalid",
        "A field of the body, a parameter or a header is missing, unknown or outside its limits.",
        "Mend what `errors` names.",
    ),
    "precondition_required": Kind(
        428,
        "If-Match is needed",
        "A policy is changed only by who says which version they saw.",
        "`GET` the policy and send its `ETag` as `If-Match`; `*` overwrites whatever is there.",
    ),
    "quota_exceeded": Kind(
        429,
        "The rate limit is exceeded",
        "The tenant, or the operator, did more of this in a moving window than `SLEEP_RATE_LIMITS` allows; what was "
        "refused does not count.",
        "Wait for `Retry-After`, and spread requests so that `RateLimit` keeps some left. A batch that is larger than "
        "the limit itself never passes: send it in parts.",
        "https://iana.org/assignments/http-problem-types#quota-exceeded",
    ),
    "too_many_streams": Kind(
        429,
        "Too many event streams are open",
        "The tenant, or this process, holds as many event streams as it can.",
        "Close streams that nobody reads, and share one among those who want the same; try again after `Retry-After`.",
    ),
    "head_too_large": Kind(
        431,
        "The head of the request is too large",
        "The request line and the headers together are larger than the API reads.",
        "Send fewer or shorter headers; a token should hold nothing but what is asked of it.",
    ),
    "internal_error": Kind(
        500,
        "Something failed here",
        "A defect of this service.",
        "Find the request id of `instance` in the log, and report what stands there.",
    ),
    "outcome_unknown": Kind(
        503,
        "It is unknown whether the command was published",
        "Kafka took the command, or the breaker events, but did not say so in time.",
        "`GET` the `Location`; while that says `outcome_unknown`, look again. With an `Idempotency-Key` it is safe to "
        "send the command once more. Breaker events have no `Location`: send them again as they are, `time` included.",
    ),
    "kafka_unavailable": Kind(503, "Kafka does not answer", "The log of commands cannot be written.", _SERVICE_AWAY),
    "redis_unavailable": Kind(
        503,
        "Redis does not answer",
        "Records cannot be read, or a receipt cannot be written.",
        f"{_SERVICE_AWAY} Where that shows nothing, Redis lost a part of its data: the request's log line says which.",
    ),
    "opa_unavailable": Kind(
        503,
        "The authorisation policy does not answer",
        "OPA is away, slow, or answered something that is neither yes nor no; without a clear yes nothing is done.",
        _SERVICE_AWAY,
    ),
    "jwks_unavailable": Kind(
        503,
        "The keys of the token's issuer do not answer",
        "The token names a key that is not known here, and the issuer's keys cannot be read.",
        _SERVICE_AWAY,
    ),
    "http_error": Kind(
        400,
        "The request was refused",
        "The HTTP framework refused it before this service saw it.",
        "Read `detail`.",
    ),
}
"""Every code; a problem of any other is a defect."""
