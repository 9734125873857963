"""What stands behind the API in unit tests: fakes at its boundaries, and tokens signed with throw-away keys."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, cast

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.door.authorise import Decision, Question
from api.door.limits import Payer, Quota, Standing, Verdict
from api.operate.dependency import UnavailableError
from api.publish.log import Published
from api.publish.receipt import Receipt
from api.publish.replies import Waiting
from api.read.store import Scanned, TenantView, Totals
from schemas.cloudevents import STRUCTURED_HEADERS, decode
from schemas.events import EVENTS, CommandEvent, Event
from schemas.operation import OperationRecord, decision_digest
from schemas.partition import partition_of
from schemas.policy import BUILT_IN_RULES, Rules
from schemas.record import Record
from schemas.settings import Action
from schemas.state import LABELS, SleepState

NOW = 1_795_334_837_992
ISSUER, AUDIENCE, KID = "https://issuer.example", "sleep", "key-1"
DECISION = "0" * 32
NO_TEXTS: Final[tuple[object, ...]] = (None, 1, ["ES256"], {})
"""What may stand where a text belongs, in a token or in a key."""
ALL_SCOPES = "sleep:read sleep:write sleep:policy sleep:override"


PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class FakeLog:
    """Takes what is published; `failure` is raised instead, `down` says that publishing does not work."""

    def __init__(self) -> None:
        self.published: list[tuple[int, bytes, bytes]] = []
        self.failure: Exception | None = None
        self.down: UnavailableError | None = None
        self.offset: int | None = 7
        self.fresh = True

    def require(self) -> None:
        if self.down is not None:
            raise self.down

    async def publish(self, partition: int, key: bytes, value: bytes) -> int | None:
        if self.failure is not None:
            raise self.failure
        self.published.append((partition, key, value))
        return self.offset

    async def publish_all(self, batches: Mapping[int, Sequence[Published]]) -> None:
        if self.failure is not None:
            raise self.failure
        self.published += ((partition, *record) for partition, records in batches.items() for record in records)

    async def untouched(self, _partition: int) -> bool:
        return self.fresh

    @property
    def events(self) -> list[Event]:
        """What was published, as the worker reads it."""
        return [decode(key, value, STRUCTURED_HEADERS) for _, key, value in self.published]


class FakeStore:
    """Redis as a few dicts; each method whose name is in `down` finds it away."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.rules: list[Rules] = [BUILT_IN_RULES]
        self.outcomes: dict[tuple[str, str], OperationRecord] = {}
        self.receipts: dict[tuple[str, str], Receipt] = {}
        self.applied: dict[int, int] = {}
        self.partitions = 8
        self.open_ended: set[str] = set()
        self.bucket = 1
        self.steps = 0
        self.is_whole = True
        self.down: set[str] = set()

    def _look(self, method: str) -> None:
        if method in self.down:
            raise UnavailableError("redis", "connection refused")

    async def tenant(self, tenant: str) -> TenantView:
        self._look("tenant")
        return TenantView(3, self.records.get(tenant), self.rules, whole=self.is_whole)

    async def whole(self, _partition: int) -> bool:
        self._look("begun")
        return self.is_whole

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        self._look("operation")
        key = (tenant, operation_id)
        return self.outcomes.get(key) or self.receipts.get(key)

    async def operations(self, tenant: str, operation_ids: Sequence[str]) -> list[OperationRecord]:
        self._look("operations")
        found = (self.outcomes.get((tenant, operation_id)) for operation_id in operation_ids)
        return [record for record in found if record is not None]

    async def put_receipt(self, receipt: Receipt) -> bool:
        self._look("put_receipt")
        return self.receipts.setdefault((receipt.tenant_id, receipt.operation_id), receipt) is receipt

    async def confirm_receipt(self, receipt: Receipt) -> None:
        self._look("confirm_receipt")
        self.receipts[receipt.tenant_id, receipt.operation_id] = receipt

    async def drop_receipt(self, receipt: Receipt) -> None:
        self._look("drop_receipt")
        del self.receipts[receipt.tenant_id, receipt.operation_id]

    async def scan(self, partition: int, cursor: int, count: int, *, open_ended: bool) -> Scanned:
        """Redis's buckets: `count` of them a step, each with `bucket` tenants."""
        self._look("scan")
        self.steps += 1
        names = [tenant for tenant in self.records if partition_of(tenant, self.partitions) == partition]
        if open_ended:
            names = [tenant for tenant in names if tenant in self.open_ended]
        end = cursor + -(-count // self.bucket) * self.bucket
        records = {tenant: self.records[tenant] for tenant in names[cursor:end]}
        return Scanned(end if end < len(names) else 0, records, self.rules)

    async def totals(self) -> Totals:
        self._look("totals")
        counted = Counter(LABELS[record.state] for record in self.records.values())
        return Totals({label: counted[label] for label in LABELS}, len(self.open_ended))

    async def progress(self) -> dict[int, int]:
        self._look("progress")
        return self.applied


class ScriptedWait(Waiting):
    """A wait that ends at once, with what the test wants to be heard."""

    def __init__(self, decision: str, record: OperationRecord | None, waits: list[float]) -> None:
        super().__init__(decision)
        self._record = record
        self._waits = waits

    async def outcome(self, seconds: float) -> OperationRecord | None:
        self._waits.append(seconds)
        return self._record


class FakeReplies:
    """Answers each command with `answer`, under the id that it was published with; None is silence.

    With `early` the answer is there before the ack.
    """

    channel = "sleep:reply:test"

    def __init__(self) -> None:
        self.answer: OperationRecord | None = None
        self.waits: list[float] = []
        self.decisions: list[str] = []
        self.early = False

    @contextmanager
    def expect(self, tenant: str, operation_id: str, decision: str) -> Iterator[Waiting]:
        self.decisions.append(decision)
        answer = self.answer
        if answer is not None:
            answer = answer._replace(tenant_id=tenant, operation_id=operation_id, decision=decision)
        waiting = ScriptedWait(decision, answer, self.waits)
        if self.early:
            waiting.deliver(answer)
        yield waiting


class FakeAuthoriser:
    """Allows what it is told to allow, and remembers the questions."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.decision = Decision(allow=True, reasons=(), decision_id="decision-1")
        self.decisions: Iterator[Decision] = iter(())
        self.failure: UnavailableError | None = None

    async def decide(self, question: Question) -> Decision:
        self.questions.append(question)
        if self.failure is not None:
            raise self.failure
        return next(self.decisions, self.decision)


class FakeLimiter:
    """Lets each payer do `amount` of each action, and never forgets what was spent; `failure` is raised instead."""

    def __init__(self) -> None:
        self.amount = 600
        self.spent: dict[tuple[Payer, Action], int] = {}
        self.failure: UnavailableError | None = None

    async def spend(self, payer: Payer, action: Action, cost: int) -> Verdict:
        if self.failure is not None:
            raise self.failure
        spent = self.spent.get((payer, action), 0)
        passes = spent + cost <= self.amount
        if passes:
            spent += cost
        self.spent[payer, action] = spent
        standing = Standing(Quota(action, self.amount, 60), self.amount - spent, 42)
        return Verdict((standing,), None if passes else standing)


class Pauses:
    """Stands for sleeping: remembers how long, and ends the task after as many pauses as it was given."""

    def __init__(self, most: int) -> None:
        self.seconds: list[float] = []
        self._most = most

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) >= self._most:
            raise asyncio.CancelledError


def outcome(**changes: object) -> OperationRecord:
    """An operation that runs since `NOW`, for a minute."""
    record = OperationRecord(
        operation_id="op-1",
        tenant_id="acme",
        type="operation",
        refused=False,
        cancelled_at=None,
        target_state=SleepState.deep,
        created_at=NOW,
        expires_at=NOW + 60_000,
        code=None,
        detail=None,
        state=SleepState.deep,
        previous_state=SleepState.active,
        position="3:7",
        actor="ops@acme",
        reason=None,
        trace_id=None,
        decision=DECISION,
    )
    return OperationRecord._make((record._asdict() | changes).values())


def decision_of(type_: str, **data: object) -> str:
    """The digest of a command's decision, as the log keeps it."""
    event = EVENTS.validate_python(
        {
            "specversion": "1.0",
            "id": "1",
            "source": "test",
            "type": type_,
            "subject": "acme",
            "data": {"operation_id": "1", "actor": "a", **data},
        }
    )
    return decision_digest(cast("CommandEvent", event))


@cache
def private_key(algorithm: str) -> PrivateKey:
    """A key of the session for an algorithm; another name after a dash makes another key of that kind."""
    match algorithm.partition("-")[0]:
        case "RS256":
            return rsa.generate_private_key(65537, 2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def public_jwk(algorithm: str, kid: str | None = KID) -> dict[str, Any]:
    """The public half of such a key, as a JWK."""
    jwk: dict[str, Any]
    match private_key(algorithm).public_key():
        case rsa.RSAPublicKey() as public:
            jwk = json.loads(RSAAlgorithm.to_jwk(public))
        case ec.EllipticCurvePublicKey() as public:
            jwk = json.loads(ECAlgorithm.to_jwk(public))
        case public:
            jwk = json.loads(OKPAlgorithm.to_jwk(public))
    return jwk | {"use": "sig"} | ({} if kid is None else {"kid": kid})


def jwks(*entries: dict[str, Any]) -> bytes:
    """A JWKS with these keys, by default one for ES256."""
    return json.dumps({"keys": list(entries or (public_jwk("ES256"),))}).encode()


def claims(**changes: object) -> dict[str, Any]:
    """Good claims with some changed; None removes one."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ops@acme",
        "exp": int(time.time()) + 600,
        "scope": ALL_SCOPES,
        "tenant_id": "acme",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(algorithm: str = "ES256", *, header: dict[str, Any] | None = None, **changes: object) -> str:
    """A token with good claims, some of them changed."""
    signed_with, _, _ = algorithm.partition("-")
    return jwt.encode(claims(**changes), private_key(algorithm), signed_with, header or {"kid": KID})
