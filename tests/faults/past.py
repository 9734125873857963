"""Everything that a log ever held, folded as it grows, also where the broker has let go of its beginning."""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from schemas.kafka.source_record import SourceRecord
from schemas.wire import events
from tests.support.events import event_bytes
from tests.support.installation import Installation
from tests.support.records import Sent
from tests.support.reference import Reference


class Past:
    """One partition of the events topic.

    Attributes:
        records: all of them, from the first.
        reference: their fold.
        cut: the offset before which the broker holds none any more.
    """

    def __init__(self, installation: Installation, partition: int) -> None:
        self.partition = partition
        self.records: list[SourceRecord] = []
        self.reference = Reference(partition)
        self.cut = 0
        self._installation = installation
        self._checkpoints = 0

    async def read_on(self) -> None:
        """Read what has come since, and fold it."""
        settings = self._installation.settings
        more = await self._installation.read(settings.topics.events, self.partition, start=self.end)
        await asyncio.to_thread(self._fold, more, settings.partitions)

    def _fold(self, more: list[SourceRecord], partitions: int) -> None:
        for record in more:
            self.reference.read(record, partitions)
        self.records += more

    @property
    def end(self) -> int:
        """The offset after the last record that was read."""
        return self.records[-1].offset + 1 if self.records else 0

    async def let_go(self) -> None:
        """Have the broker forget all records so far, as retention does.

        A rebuild begins with the states as they were published. So each tenant is given a state that says everything:
        what a renewal leaves unpublished would be gone with the log. Nobody else may write meanwhile.
        """
        installation = self._installation
        await self.read_on()
        while self._unpublished():
            self._checkpoints += 1
            await installation.write(self._checkpoint(tenant) for tenant in sorted(self.reference.tenants))
            await self.read_on()
        # What the broker no longer has, the workers must have.
        await installation.caught_up()
        admin = AIOKafkaAdminClient(bootstrap_servers=installation.settings.kafka_bootstrap)
        await admin.start()
        try:
            at = TopicPartition(installation.settings.topics.events, self.partition)
            await admin.delete_records({at: RecordsToDelete(self.end)})
        finally:
            await admin.close()
        self.cut = self.end

    def _unpublished(self) -> bool:
        """Tell whether any tenant's record says more than its last state."""
        published = dict(self.reference.states)
        present = {tenant: self.reference.document(tenant) for tenant in self.reference.tenants}
        return any(published.get(tenant) != document for tenant, document in present.items())

    def _checkpoint(self, tenant: str) -> Sent:
        """Return an event that changes what the tenant's record shows, whatever it is."""
        state = ("closed", "open")[self._checkpoints % 2]
        data = {"breaker": "checkpoint", "state": state}
        id_ = f"checkpoint-{self._checkpoints}"
        value = event_bytes(events.BREAKER, data, tenant, id_=id_)
        return Sent(tenant, value, self.partition)
