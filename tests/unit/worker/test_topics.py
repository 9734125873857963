"""The topics: what is created, and what is refused."""

from typing import Any

import pytest
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    NotLeaderForPartitionError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)
from structlog.testing import capture_logs

from schemas.kafka.topics import wanted_topics
from tests.support.batches import apply_all
from tests.support.events import breaker
from tests.support.settings import settings_of
from tests.unit.worker.rebuilds import log_of
from tests.unit.worker.topic_admin import Admin
from worker.adapters.kafka_topics import Finding, TopicAdmin, TopicsError, disk_cost, verify_topics


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    """The broker that an administrative client finds."""
    admin_ = Admin()
    monkeypatch.setattr("worker.adapters.kafka_topics.AIOKafkaAdminClient", admin_)
    return admin_


def test_the_topics_are_those_of_the_design() -> None:
    """Names, partitions, clean-up, retention and log time."""
    day = 86_400_000
    actual = {topic.name: (topic.partitions, topic.config) for topic in wanted_topics(settings_of(partitions=16))}
    clean = {"unclean.leader.election.enable": "false"}
    log_time = {"message.timestamp.type": "LogAppendTime"}
    delete = {"cleanup.policy": "delete"}
    assert actual == {
        "sleep.events": (16, clean | delete | log_time | {"retention.ms": str(7 * day)}),
        "sleep.states": (
            16,
            clean
            | {"cleanup.policy": "compact", "delete.retention.ms": str(9 * day), "min.compaction.lag.ms": str(7 * day)},
        ),
        "sleep.transitions": (16, clean | delete | {"retention.ms": str(30 * day)}),
        "sleep.breakers": (16, clean | delete | log_time | {"retention.ms": str(day)}),
        "sleep.deadletter": (16, clean | delete | {"retention.ms": str(30 * day)}),
    }


@pytest.mark.parametrize(("replication", "expected"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_with_three_replicas_two_must_have_a_record_before_it_counts(replication: int, expected: str | None) -> None:
    """With fewer that would stop the topic whenever one is away."""
    for topic in wanted_topics(settings_of(replication=replication)):
        assert topic.config.get("min.insync.replicas") == expected


async def test_topics_that_are_missing_are_created_and_those_that_stand_are_left(admin: Admin) -> None:
    """A topic in use is changed by a person only."""
    settings = settings_of(replication=3, kafka_bootstrap="a:1,b:2")
    admin.topics["sleep.events"] = (8, {"retention.ms": "7"})
    async with TopicAdmin(settings) as topics:
        connected = admin.open
        names = await topics.create()
    assert (connected, admin.open) == (True, False)
    assert admin.options["bootstrap_servers"] == "a:1,b:2"
    assert names == ["sleep.states", "sleep.transitions", "sleep.breakers", "sleep.deadletter"]
    states = admin.created[0]
    assert (states.num_partitions, states.replication_factor) == (8, 3)
    assert states.topic_configs == {
        "unclean.leader.election.enable": "false",
        "min.insync.replicas": "2",
        "cleanup.policy": "compact",
        "delete.retention.ms": "777600000",
        "min.compaction.lag.ms": "604800000",
    }


async def test_partitions_that_are_missing_are_added_where_no_tenant_depends_on_them(admin: Admin) -> None:
    """A topic that came back by itself has one; of the tenants' topics only a person can say what is right."""
    settings = settings_of()
    admin.have(settings)
    admin.topics["sleep.deadletter"] = (1, admin.topics["sleep.deadletter"][1])
    async with TopicAdmin(settings) as topics:
        assert [(finding.stops, "1 of 8 partitions" in finding.text) for finding in await topics.check()] == [
            (False, True)
        ]
        assert await topics.create() == ["sleep.deadletter"]
        assert admin.grown == {"sleep.deadletter": 8}
        admin.topics["sleep.transitions"] = (1, admin.topics["sleep.transitions"][1])
        with pytest.raises(TopicsError, match="has 1 partitions and SLEEP_PARTITIONS is 8; where"):
            await topics.create()


async def test_a_broker_without_a_controller_is_not_asked_to_create(admin: Admin) -> None:
    """The embedded broker is one."""
    admin.controller = 0
    async with TopicAdmin(settings_of()) as connected:
        with pytest.raises(TopicsError, match="names no controller"):
            await connected.create()
    assert admin.created == []


async def test_a_broker_that_describes_no_configuration_is_refused(admin: Admin) -> None:
    """Nobody could tell whose time is in its log."""
    admin.have(settings_of())
    admin.undescribed = True
    with pytest.raises(TopicsError, match="cannot tell a topic's configuration"):
        await verify_topics(settings_of())


async def test_a_topic_that_another_has_just_created_is_fine(admin: Admin) -> None:
    """Two may start at once."""
    admin.refusals["sleep.states"] = (36, "exists")
    async with TopicAdmin(settings_of()) as topics:
        assert "sleep.states" in await topics.create()


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((38, "Replication factor: 9 larger than available brokers: 1."), "Replication factor: 9 larger"),
        ((29,), ""),
    ],
)
async def test_a_topic_that_the_broker_refuses_is_an_error(admin: Admin, refusal: tuple[Any, ...], reason: str) -> None:
    """It names the topic and the broker's reason."""
    admin.refusals["sleep.breakers"] = refusal
    async with TopicAdmin(settings_of()) as topics:
        with pytest.raises(TopicsError, match=rf"topic sleep\.breakers was not created: \w+Error: {reason}"):
            await topics.create()


async def test_topics_that_are_as_they_should_be_are_accepted(admin: Admin) -> None:
    """A longer retention, up to for ever, is nobody's business."""
    settings = settings_of(topic_prefix="ours", partitions=3, replication=3)
    admin.have(settings)
    admin.topics["ours.events"][1]["retention.ms"] = "-1"
    admin.topics["ours.transitions"][1]["retention.ms"] = "9999999999999"
    admin.topics["ours.states"][1].update({"delete.retention.ms": "9999999999999", "min.insync.replicas": "3"})
    with capture_logs() as logs:
        await verify_topics(settings)
    assert not admin.open
    assert logs == []


@pytest.mark.parametrize(
    ("name", "config", "finding"),
    [
        ("sleep.events", {"retention.ms": "3600000"}, "retention.ms=3600000, and should have at least 604800000"),
        (
            "sleep.states",
            {"delete.retention.ms": "86400000"},
            "delete.retention.ms=86400000, and should have at least 777600000",
        ),
        ("sleep.deadletter", {"min.insync.replicas": "1"}, "min.insync.replicas=1, and should have at least 2"),
        ("sleep.states", {"min.insync.replicas": None}, "min.insync.replicas=None, and should have at least 2"),
        (
            "sleep.events",
            {"unclean.leader.election.enable": None},
            "unclean.leader.election.enable=None, and should have false",
        ),
        (
            "sleep.transitions",
            {"unclean.leader.election.enable": "true"},
            "unclean.leader.election.enable=true, and should have false",
        ),
    ],
)
async def test_a_topic_that_is_weaker_than_asked_is_told_and_stops_no_worker(
    admin: Admin, name: str, config: dict[str, str | None], finding: str
) -> None:
    """Somebody may have decided so."""
    settings = settings_of(replication=3)
    admin.have(settings)
    admin.topics[name][1].update(config)
    async with TopicAdmin(settings) as topics:
        assert await topics.check() == [Finding(f"topic {name} has {finding}", stops=False)]
    with capture_logs() as logs:
        await verify_topics(settings)
    assert [(entry["event"], entry["log_level"], entry["finding"]) for entry in logs] == [
        ("topic_finding", "warning", f"topic {name} has {finding}")
    ]


@pytest.mark.parametrize(
    ("retention", "lag", "least"),
    [("604800000", "0", "604800000"), ("864000000", "604800000", "864000000"), ("-1", "3600000", "604800000")],
)
async def test_states_that_are_kept_for_less_time_than_events_are_told(
    admin: Admin, retention: str, lag: str, least: str
) -> None:
    """A replay would not know where its range begins. The finding says what to run."""
    admin.have(settings_of())
    admin.topics["sleep.events"][1]["retention.ms"] = retention
    admin.topics["sleep.states"][1]["min.compaction.lag.ms"] = lag
    async with TopicAdmin(settings_of()) as topics:
        [finding] = await topics.check()
    assert not finding.stops
    assert finding.text.startswith(
        f"topic sleep.states has min.compaction.lag.ms={lag}, and should have at least {least}, else `sleepctl replay`"
    )
    assert f"--entity-name sleep.states --add-config min.compaction.lag.ms={least}`" in finding.text


def test_the_disk_cost_is_that_of_a_usual_state() -> None:
    """Within a tenth: what a tenant that a breaker put to sleep publishes, with its key."""
    lane = apply_all(log_of(breaker("open", "payments@pod-1", cause="5 of 10 calls timed out")))
    [state] = lane.states
    size = len(state.key or b"") + len(state.value or b"")
    text = disk_cost(settings_of(replication=3))
    stated = float(text.partition("about ")[2].partition(" GB")[0]) * 1e9 / (7 * 86_400)
    assert 0.9 * size < stated < 1.1 * size
    assert text.startswith("sleep.states keeps every state for 7 days")
    assert "(SLEEP_REPLICATION is 3)" in text


async def test_an_ingress_topic_of_others_that_is_not_there_is_told_and_stops_nobody(admin: Admin) -> None:
    """A misspelled one would bring no event, and nobody would miss it; one that was deleted is its owner's affair."""
    settings = settings_of(ingress=[{"topic": "payments"}, {"topic": "paymetns"}, {"topic": "sleep.breakers"}])
    admin.have(settings)
    admin.topics["payments"] = (2, {"retention.ms": "1"})
    with capture_logs() as logs:
        await verify_topics(settings)
    assert [(entry["event"], entry["finding"]) for entry in logs] == [
        (
            "topic_finding",
            "topic paymetns, which SLEEP_INGRESS names, is missing; the owner of its emitters must create it",
        )
    ]


async def test_a_topic_that_is_missing_is_not_asked_for_by_name(admin: Admin) -> None:
    """A broker may make it then, with defaults of its own."""
    settings = settings_of(ingress=[{"topic": "payments"}])
    admin.have(settings)
    del admin.topics["sleep.states"]
    async with TopicAdmin(settings) as topics:
        await topics.check()
    assert {"sleep.states", "payments"}.isdisjoint(admin.asked)


@pytest.mark.parametrize(
    ("name", "partitions", "config", "finding"),
    [
        ("sleep.events", 4, {}, "topic sleep.events has 4 partitions and SLEEP_PARTITIONS is 8"),
        (
            "sleep.events",
            8,
            {"message.timestamp.type": "CreateTime"},
            "topic sleep.events has message.timestamp.type=CreateTime, and needs LogAppendTime",
        ),
        (
            "sleep.states",
            8,
            {"cleanup.policy": "delete"},
            "topic sleep.states has cleanup.policy=delete, and needs compact",
        ),
        (
            "sleep.events",
            8,
            {"cleanup.policy": "compact"},
            "topic sleep.events has cleanup.policy=compact, and needs delete",
        ),
    ],
)
async def test_a_topic_that_would_break_a_promise_is_refused(
    admin: Admin, name: str, partitions: int, config: dict[str, str], finding: str
) -> None:
    """The worker does not start on it."""
    admin.have(settings_of())
    admin.topics[name] = (partitions, {**admin.topics[name][1], **config})
    with pytest.raises(TopicsError) as refused:
        await verify_topics(settings_of())
    assert str(refused.value).startswith(finding)
    assert not admin.open


async def test_missing_topics_are_all_named_with_what_to_run(admin: Admin) -> None:
    """So that one command repairs them."""
    admin.have(settings_of())
    del admin.topics["sleep.states"], admin.topics["sleep.deadletter"]
    with pytest.raises(TopicsError) as refused:
        await verify_topics(settings_of())
    assert str(refused.value) == (
        "topic sleep.states is missing, or an ACL hides it; run `sleepctl topics create`; "
        "topic sleep.deadletter is missing, or an ACL hides it; run `sleepctl topics create`"
    )


async def test_a_config_that_may_not_be_read_is_not_taken_for_right(admin: Admin) -> None:
    """It fails closed."""
    admin.have(settings_of())
    admin.topics["sleep.events"] = (8, {})
    with pytest.raises(TopicsError, match=r"message\.timestamp\.type=None, and needs LogAppendTime"):
        await verify_topics(settings_of())


async def test_topics_that_all_stand_are_no_request(admin: Admin) -> None:
    """And none was made."""
    settings = settings_of()
    admin.have(settings)
    async with TopicAdmin(settings) as topics:
        assert await topics.create() == []
    assert admin.created == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TopicAuthorizationFailedError, "TopicAuthorizationFailedError: the user needs the right Delete on the topic"),
        (PolicyViolationError, "PolicyViolationError: the user needs the right Delete on the topic"),
        (IncompatibleBrokerVersion, "this broker removes no records before an offset"),
    ],
)
async def test_what_keeps_records_from_being_removed_is_told(admin: Admin, error: type[KafkaError], told: str) -> None:
    """With the right that is missing. An outage stays one."""
    async with TopicAdmin(settings_of()) as topics:
        await topics.remove_events(3, 1)
        assert admin.deleted == {3: 1}
        admin.undeleted = error
        with pytest.raises(TopicsError, match=told):
            await topics.remove_events(3, 1)
        admin.undeleted = NotLeaderForPartitionError
        with pytest.raises(NotLeaderForPartitionError):
            await topics.remove_events(3, 1)
