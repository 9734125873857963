"""What may be the matter behind the API when a request comes."""

from typing import Any

from msgspec.structs import replace

from api.adapters.dependency import UnavailableError
from api.adapters.kafka_events import OutcomeUnknownError
from api.security.jwks import Keys
from schemas.domain.claim import Claim
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import new_record
from schemas.domain.state import SleepState
from tests.support.operations import outcome
from tests.support.times import NOW
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.hot.case import SetUp, nothing


def unavailable(dependency: str) -> UnavailableError:
    """Return what a dependency that is away raises."""
    return UnavailableError(dependency, "connection to 10.0.0.1 refused")


def answers(**changes: object) -> SetUp:
    """The log answers the command."""

    def set_up(api: ApiOverFakes) -> None:
        api.replies.answer = outcome(**changes)

    return set_up


def refuses(code: str, detail: str | None = None) -> SetUp:
    """The log refuses the command."""
    return answers(refused=True, code=code, detail=detail, state=None, previous_state=None, expires_at=None)


def forbids(*reasons: str) -> SetUp:
    """Policy refuses."""

    def set_up(api: ApiOverFakes) -> None:
        api.authoriser.decision = api.authoriser.decision._replace(allow=False, reasons=reasons)

    return set_up


def without_policy(api: ApiOverFakes) -> None:
    """Policy gives no decision."""
    api.authoriser.failure = unavailable("opa")


def without_keys(api: ApiOverFakes) -> None:
    """The keys of the issuer cannot be read."""

    class Away(Keys):
        async def find(self, kid: str | None, algorithm: str) -> Any:  # noqa: ANN401, ARG002 - as the real one
            raise unavailable("jwks")

    api.services.verifier._keys = Away()  # noqa: SLF001 - the verifier has no other way to them


def without_limiter(api: ApiOverFakes) -> None:
    """The limits cannot be counted."""
    api.limiter.failure = unavailable("redis")


def without_kafka(api: ApiOverFakes) -> None:
    """Nothing can be published."""
    api.log.down = api.log.failure = unavailable("kafka")


def losing_kafka(api: ApiOverFakes) -> None:
    """Kafka goes away between the first look at it and the publishing."""
    api.log.failure = unavailable("kafka")


def losing_everything(api: ApiOverFakes) -> None:
    """So does Redis."""
    losing_kafka(api)
    without("withdraw")(api)


def without_acknowledgement(api: ApiOverFakes) -> None:
    """What was published may be in the log."""
    api.log.failure = OutcomeUnknownError("no acknowledgement after 10 s")


def without(*methods: str) -> SetUp:
    """Redis does not answer these methods of the store."""

    def set_up(api: ApiOverFakes) -> None:
        api.store.down = set(methods)

    return set_up


def incomplete(api: ApiOverFakes) -> None:
    """Redis lacks the partition's data, and does not say why."""
    api.store.is_whole = False
    without("whole")(api)


def allowing(amount: int, then: SetUp | None = None) -> SetUp:
    """Every budget has so much."""

    def set_up(api: ApiOverFakes) -> None:
        api.limiter.amount = amount
        if then is not None:
            then(api)

    return set_up


def crowded(of: str) -> SetUp:
    """The subject, its tenant or the process has all the requests in flight that it may have."""

    def set_up(api: ApiOverFakes) -> None:
        most = {"subject": 9, "tenant": 9, "process": 9} | {of: 0}
        api.services.in_flight._most = most  # noqa: SLF001 - hundreds of requests would take long

    return set_up


def early(set_up: SetUp) -> SetUp:
    """The answer of the log is there before the acknowledgement."""

    def both(api: ApiOverFakes) -> None:
        set_up(api)
        api.replies.early = True

    return both


def asleep(api: ApiOverFakes) -> None:
    """The tenant sleeps."""
    claim = Claim("breaker", "search@pod-1", None, "open", None, NOW - 9000, NOW + 9000, None, None)
    api.store.records["acme"] = replace(
        new_record(BUILT_IN_RULES, NOW - 9000),
        state=SleepState.deep,
        decided=SleepState.deep,
        claims={("breaker", "search@pod-1"): claim},
        offset=1,
    )


def broken(method: str) -> SetUp:
    """Our own code fails in a method of the store."""

    def set_up(api: ApiOverFakes) -> None:
        async def fail(*_: object) -> None:
            raise RuntimeError(method)

        setattr(api.store, method, fail)

    return set_up


Situations = dict[str, SetUp]
COMMON: Situations = {
    "403 with reasons": forbids("the token lacks sleep:write", "the tenant is another one"),
    "403 without a reason": forbids(),
    "429 nothing left": allowing(0),
    "429 subject in flight": crowded("subject"),
    "429 tenant in flight": crowded("tenant"),
    "429 process in flight": crowded("process"),
    "503 no policy": without_policy,
    "503 no keys": without_keys,
    "503 no limiter": without_limiter,
}
"""Of every hot request."""
COMMANDS: Situations = {
    "200 answered": answers(),
    "200 answered before the acknowledgement": early(answers()),
    "200 a mode": answers(type="mode", expires_at=None, state=SleepState.light, target_state=SleepState.light),
    **{
        f"refused {code}": refuses(code, detail)
        for code, detail in {
            "ttl_out_of_range": "the TTL is above the policy's max_ttl_seconds",
            "idempotency_conflict": None,
            "too_many_operations": "32 operations are live",
            "not_running": None,
            "version_conflict": "the version is 3",
            "too_late": None,
            "duplicate_operation": None,
            "invalid_policy": None,
            "clock_skew": None,
            "stale_event": None,
            "too_many_claims": None,
        }.items()
    },
    "202 no answer": nothing,
    "503 no Kafka": without_kafka,
    "503 Kafka lost": losing_kafka,
    "503 Kafka lost, and Redis": losing_everything,
    "503 outcome unknown": without_acknowledgement,
    "503 no receipt": without("note"),
    "500": broken("note"),
}
"""Of what publishes a command."""
READS: Situations = {
    "200 never seen": nothing,
    "200 asleep": asleep,
    "503 no Redis": without("tenant"),
    "503 data lost": incomplete,
    "500": broken("tenant"),
}
EMITS: Situations = {
    "202": nothing,
    "503 no Kafka": without_kafka,
    "503 outcome unknown": without_acknowledgement,
    "429 less than one left, after Kafka failed": allowing(1, without_kafka),
}
