"""Publishes what the state records of some keys are now, over whatever else was appended for them."""

from collections.abc import Iterable
from typing import Final

from pydantic_core import from_json, to_json

from schemas.names import rules_key
from schemas.progress import Progress
from schemas.public import state_record
from worker.batch import POSITION_HEADER
from worker.ports import Kept, Output, Outputs, Store
from worker.stored import record_of

_RULES_PREFIX: Final = rules_key(0)[:-1].encode()


class Repair:
    """Publishes the present record of keys, behind an end that nobody else may move meanwhile.

    Attributes:
        end: the end of the states partition, behind what was published last.
        keys: how many records were published.
    """

    def __init__(self, progress: Progress, partition: int, store: Store, outputs: Outputs, end: int) -> None:
        self.end = end
        self.keys = 0
        self._progress = progress
        self._partition = partition
        self._store = store
        self._outputs = outputs
        # No record of this position or an earlier one is newer than the tombstone.
        position = f"{partition}:{max(progress.next - 1, 0)}"
        self._headers = ((POSITION_HEADER, position.encode()),)

    async def publish(self, records: Iterable[Kept]) -> bool:
        """Append what each key's record is now; False where someone else owns the partition or appends to it."""
        found = {record.key: record for record in records if record.key is not None}
        tenants = {key: key.decode() for key in found if not key.startswith(_RULES_PREFIX) and _is_text(key)}
        loaded = await self._store.load(self._partition, self._progress.next, list(tenants.values()), [])
        if loaded is None:
            return False
        packed = dict(zip(tenants, loaded.records, strict=True))
        outputs = [
            self._rules(key, record) if key.startswith(_RULES_PREFIX) else self._state(key, packed.get(key))
            for key, record in found.items()
        ]
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
        return Output(key, to_json(state_record(tenant, self._partition, record, terms)))

    def _rules(self, key: bytes, record: Kept) -> Output:
        """Return rules as they stand there if they are the log's, else a tombstone.

        A rebuild names rules that are missing; it could not know that these are wrong. Rules of a later number are
        those of a batch that was not committed, or was lost: the log brings them again, but over a tombstone that
        an earlier repair left nobody would, since progress does not know their position.
        """
        ours = {rules_key(rules.number).encode(): rules for rules in self._progress.rules[1:]}.get(key)
        try:
            document = from_json(record.value or b"")
            same = rules_key(document["number"]).encode() == key and (
                document["number"] >= len(self._progress.rules) if ours is None else document["rules"] == ours.document
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
