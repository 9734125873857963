"""Publishes the present state records of keys again, after another worker has appended records for them."""

from collections.abc import Iterable, Sequence
from typing import Final

from pydantic_core import from_json

from schemas.names import rules_key
from schemas.redis.progress import Progress
from schemas.wire.state_record import POSITION_HEADER
from schemas.wire.tenant_view import encoded_state
from worker.partition.pending_batch import PIECE_BYTES
from worker.partition.stored_records import record_of
from worker.ports import Output, Outputs, Store, TopicRecord

_RULES_PREFIX: Final = rules_key(0)[:-1].encode()


class StatesRepair:
    """Publishes the present record of keys. It fails if another worker appends meanwhile.

    Attributes:
        end: the offset after the last record that was published.
        keys: how many records were published.
    """

    def __init__(self, progress: Progress, partition: int, store: Store, outputs: Outputs, end: int) -> None:
        self.end = end
        self.keys = 0
        self._progress = progress
        self._partition = partition
        self._store = store
        self._outputs = outputs
        # The position of a tombstone: no record of this position or an earlier one is newer.
        position = f"{partition}:{max(progress.next - 1, 0)}"
        self._headers = ((POSITION_HEADER, position.encode()),)

    async def publish(self, records: Iterable[TopicRecord]) -> bool:
        """Append the present record of each key; False if another worker owns the partition or appends to it."""
        last = {record.key: record for record in records if record.key is not None}
        tenants = [key for key in last if not key.startswith(_RULES_PREFIX) and _is_text(key)]
        loaded = 0
        packed: dict[bytes, bytes | None] = {}
        outputs: list[Output] = []
        size = 0
        for key, record in last.items():
            if loaded < len(tenants) and key == tenants[loaded]:
                # The store answers with as many records as fit into one answer.
                answer = await self._load(tenants[loaded:])
                if answer is None:
                    return False
                packed = dict(zip(tenants[loaded:], answer, strict=False))
                loaded += len(answer)
            rules = key.startswith(_RULES_PREFIX)
            outputs.append(self._rules(key, record) if rules else self._state(key, packed.get(key)))
            size += len(outputs[-1].value or b"")
            if size >= PIECE_BYTES:
                if not await self._send(outputs):
                    return False
                outputs, size = [], 0
        return await self._send(outputs)

    async def _load(self, tenants: Sequence[bytes]) -> Sequence[bytes | None] | None:
        names = [tenant.decode() for tenant in tenants]
        loaded = await self._store.load(self._partition, self._progress.next, names, [])
        return None if loaded is None else loaded.records

    async def _send(self, outputs: Sequence[Output]) -> bool:
        end = await self._outputs.send(self._outputs.topics.states, self._partition, outputs)
        if end is None:
            return True
        if end != self.end + len(outputs):
            return False
        self.end = end
        self.keys += len(outputs)
        return True

    def _state(self, key: bytes, packed: bytes | None) -> Output:
        if packed is None:
            return Output(key, None, self._headers)
        tenant, rules = key.decode(), self._progress.rules
        record = record_of(self._partition, tenant, packed, rules, self._progress.next)
        terms = rules[record.rules_number].terms_for(record.policy)
        return Output(key, encoded_state(tenant, self._partition, record, terms))

    def _rules(self, key: bytes, record: TopicRecord) -> Output:
        """Return the rules in a record of the topic if they are those of the log, else a tombstone.

        A rebuild reports rules that are missing, and could not know that these are wrong. Rules with a later number are
        from a batch that was not committed, or was lost: the log brings them again. But they stay as they are, because
        nothing would replace a tombstone: progress does not know their position.
        """
        committed = {rules_key(rules.number).encode(): rules for rules in self._progress.rules[1:]}.get(key)
        try:
            document = from_json(record.value or b"")
            same = rules_key(document["number"]).encode() == key and (
                document["number"] >= len(self._progress.rules)
                if committed is None
                else document["rules"] == committed.document
            )
        except (ValueError, TypeError, KeyError):
            same = False
        return Output(key, record.value) if same else Output(key, None, self._headers)


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
