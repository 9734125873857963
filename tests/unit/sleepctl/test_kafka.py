"""The log on Kafka, over a producer that is a fake."""

from types import SimpleNamespace

import pytest

from schemas.settings import Settings
from schemas.wire.cloudevents import STRUCTURED_HEADERS
from sleepctl.io.kafka import Appended, KafkaLog
from sleepctl.ui.errors import CommandError
from tests.support.settings import settings_of
from tests.support.times import NOW
from tests.unit.sleepctl.fakes import FakeProducer


class Producers:
    """Makes producers and remembers the last."""

    def __init__(self, fails: str = "") -> None:
        self._fails = fails
        self.last: FakeProducer

    def __call__(self, **options: object) -> FakeProducer:
        self.last = FakeProducer(self._fails, None, **options)
        return self.last


@pytest.fixture
def settings() -> Settings:
    """Settings with a broker."""
    return settings_of()


async def test_records_are_acknowledged_by_all_replicas(settings: Settings) -> None:
    """And sent once, whatever is tried again."""
    producers = Producers()
    async with KafkaLog(settings, producers) as log:
        assert await log.append("t", 2, b"acme", b"{}") == 41
    assert (producers.last.options["acks"], producers.last.options["enable_idempotence"]) == ("all", True)
    (sent,) = producers.last.sent
    assert (sent["partition"], sent["key"], sent["headers"]) == (2, b"acme", list(STRUCTURED_HEADERS))
    assert producers.last.stopped


@pytest.mark.parametrize(("timestamp", "kind"), [(NOW, 1), (NOW, 0), (0, 1), (-1, 0)])
async def test_the_broker_that_stamped_a_record_is_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, timestamp: int, kind: int
) -> None:
    """The embedded one answers with a time that is none."""

    async def acknowledge(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(offset=7, timestamp=timestamp, timestamp_type=kind)

    monkeypatch.setattr(FakeProducer, "send_and_wait", acknowledge)
    async with KafkaLog(settings, Producers()) as log:
        assert await log.appended("t", 2, b"acme", b"{}") == Appended(7, stamped=(timestamp, kind) == (NOW, 1))


async def test_a_topic_has_the_partitions_that_are_listed(settings: Settings) -> None:
    """It is never asked for by name, which could make it."""
    async with KafkaLog(settings, Producers()) as log:
        assert await log.partitions("t") == 3


async def test_a_topic_that_is_missing_is_named(settings: Settings) -> None:
    """With the command that makes it."""
    async with KafkaLog(settings, Producers()) as log:
        with pytest.raises(CommandError, match="there is no topic u; `sleepctl topics create`"):
            await log.partitions("u")


async def test_a_broker_that_is_away_is_named_and_nothing_stays_open(settings: Settings) -> None:
    """At the start."""
    producers = Producers("start")
    with pytest.raises(CommandError, match="Kafka at kafka:9092 does not answer: KafkaError: away"):
        await KafkaLog(settings, producers).__aenter__()
    assert producers.last.stopped


async def test_certificates_that_cannot_be_read_are_an_answer_too() -> None:
    """Nothing was made that could be stopped."""
    settings = Settings.model_validate(
        {
            "kafka_bootstrap": "broker:9092",
            "redis_url": "redis://store",
            "kafka_security_protocol": "SSL",
            "kafka_ssl_cafile": "/does/not/exist.pem",
        }
    )
    with pytest.raises(CommandError, match="SLEEP_KAFKA_SSL_CAFILE: the file cannot be read"):
        await KafkaLog(settings, Producers()).__aenter__()


@pytest.mark.parametrize(("fails", "message"), [("metadata", "does not list its topics"), ("send", "t partition 0")])
async def test_a_broker_that_goes_away_later_is_told(settings: Settings, fails: str, message: str) -> None:
    """The topic and the partition are named."""
    async with KafkaLog(settings, Producers(fails)) as log:
        with pytest.raises(CommandError, match=message):
            await log.append("t", 0, None, b"{}") if fails == "send" else await log.partitions("t")


def test_commands_open_a_log_on_kafka(settings: Settings) -> None:
    """Nothing connects before it is entered."""
    assert isinstance(KafkaLog(settings), KafkaLog)
