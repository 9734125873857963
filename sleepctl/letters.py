"""The dead-letter topic, as a rebuild and a comparison look at it: what was set aside of each partition."""

from schemas.settings import Settings
from sleepctl.reader import TopicReader
from worker.deadletter import SourceRecord
from worker.recovery.aside import SetAside
from worker.recovery.redrive import DeadLetter


class Letters:
    """All dead letters so far, read once for all partitions of the log.

    Where one stands says nothing of where it came from: the topic may have another partition count than the log, and
    more than it had when the letter was sent.
    """

    def __init__(self, settings: Settings, reader: TopicReader) -> None:
        self._topics = settings.topics
        self._reader = reader
        self._next: dict[int, int] = {}
        partitions = settings.partitions
        self._aside = [SetAside(number, partitions) for number in range(partitions)]

    def of(self, partition: int) -> SetAside:
        """Return what was set aside of a partition of the log."""
        return self._aside[partition]

    async def read_on(self) -> None:
        """Read what has come since.

        Raises:
            CommandError: if Kafka does not answer, or there is no such topic.
        """
        topic = self._topics.deadletter
        for number, (start, end) in (await self._reader.bounds(topic)).items():
            first = max(start, self._next.get(number, start))
            async for page in self._reader.read(topic, number, first, end):
                for record in page:
                    self._take(record)
            self._next[number] = end

    def _take(self, record: SourceRecord) -> None:
        try:
            letter = DeadLetter.of(record)
        except ValueError:
            return  # Somebody else's; `sleepctl deadletters list` names it.
        if letter.topic == self._topics.events and letter.partition < len(self._aside):
            self._aside[letter.partition].read(record, letter)
