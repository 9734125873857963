"""What stands behind the API in unit tests: fakes at its boundaries, and tokens signed with throw-away keys."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.authorise import Decision, Question
from api.dependency import UnavailableError
from api.receipt import Receipt
from api.replies import Waiting
from api.store import TenantView
from schemas.cloudevents import STRUCTURED_HEADERS, decode
from schemas.events import Event
from schemas.operation import OperationRecord
from schemas.policy import BUILT_IN_RULES, Rules
from schemas.record import Record
from schemas.state import SleepState

NOW = 1_795_334_837_992
ISSUER, AUDIENCE, KID = "https://issuer.example", "sleep", "key-1"
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

    def require(self) -> None:
        if self.down is not None:
            raise self.down

    async def publish(self, partition: int, key: bytes, value: bytes) -> int | None:
        if self.failure is not None:
            raise self.failure
        self.published.append((partition, key, value))
        return self.offset

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
        self.down: set[str] = set()

    def _look(self, method: str) -> None:
        if method in self.down:
            raise UnavailableError("redis", "connection refused")

    async def tenant(self, tenant: str) -> TenantView:
        self._look("tenant")
        return TenantView(3, self.records.get(tenant), self.rules)

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        self._look("operation")
        key = (tenant, operation_id)
        return self.outcomes.get(key) or self.receipts.get(key)

    async def operations(self, tenant: str, operation_ids: Sequence[str]) -> list[OperationRecord]:
        self._look("operations")
        found = (self.outcomes.get((tenant, operation_id)) for operation_id in operation_ids)
        return [record for record in found if record is not None]

    async def put_receipt(self, receipt: Receipt) -> None:
        self._look("put_receipt")
        self.receipts[receipt.tenant_id, receipt.operation_id] = receipt

    async def confirm_receipt(self, receipt: Receipt) -> None:
        self._look("confirm_receipt")
        self.receipts[receipt.tenant_id, receipt.operation_id] = receipt

    async def drop_receipt(self, receipt: Receipt) -> None:
        self._look("drop_receipt")
        del self.receipts[receipt.tenant_id, receipt.operation_id]

    async def progress(self) -> dict[int, int]:
        self._look("progress")
        return self.applied


class ScriptedWait(Waiting):
    """A wait that ends at once, with what the test wants to be heard."""

    def __init__(self, record: OperationRecord | None, waits: list[float]) -> None:
        super().__init__()
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
        self.early = False

    @contextmanager
    def expect(self, tenant: str, operation_id: str) -> Iterator[Waiting]:
        answer = self.answer
        if answer is not None:
            answer = answer._replace(tenant_id=tenant, operation_id=operation_id)
        waiting = ScriptedWait(answer, self.waits)
        if self.early:
            waiting.deliver(answer)
        yield waiting


class FakeAuthoriser:
    """Allows what it is told to allow, and remembers the questions."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.decision = Decision(allow=True, reasons=(), decision_id="decision-1")
        self.failure: UnavailableError | None = None

    async def decide(self, question: Question) -> Decision:
        self.questions.append(question)
        if self.failure is not None:
            raise self.failure
        return self.decision


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
        decision="0" * 32,
    )
    return OperationRecord._make((record._asdict() | changes).values())


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
