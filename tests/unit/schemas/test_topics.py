"""What is said of topics that are missing, or have other partitions; and no client makes one."""

from types import SimpleNamespace

import pytest

from schemas.kafka.topic_check import TopicHealth, create_no_topics, judge_topics
from schemas.names import Topics

TOPICS = Topics.of("sleep")
GOOD = dict.fromkeys(TOPICS, 8)


def test_topics_with_their_partitions_have_no_findings() -> None:
    """Emitters may have asked for more of theirs."""
    assert judge_topics(TOPICS, 8, GOOD) == TopicHealth({}, {})
    assert judge_topics(TOPICS, 8, GOOD | {TOPICS.breakers: 64, TOPICS.deadletter: 9}) == TopicHealth({}, {})


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_that_is_missing_is_bad_and_the_finding_names_the_command(topic: str) -> None:
    """Each of the five."""
    for counts in ({name: 8 for name in TOPICS if name != topic}, GOOD | {topic: 0}):
        findings = judge_topics(TOPICS, 8, counts)
        assert findings == TopicHealth(
            {topic: f"topic {topic} is missing, or an ACL hides it; run `sleepctl topics create`"}, {}
        )


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_recreated_with_one_partition_is_a_finding_with_the_command(topic: str) -> None:
    """Bad where a tenant has a partition of its own in it."""
    bad, weak = judge_topics(TOPICS, 8, GOOD | {topic: 1})
    [(name, finding)] = (bad | weak).items()
    assert name == topic
    assert "sleepctl topics create" in finding
    assert (topic in bad) is (topic in {TOPICS.events, TOPICS.states, TOPICS.transitions})
    if topic in bad:
        assert f"--delete --topic {topic}" in finding


class _Request:
    def __init__(self, topics: list[str] | None = None, *, allow_auto_topic_creation: bool | None = None) -> None:
        self.asked = topics, allow_auto_topic_creation


def test_a_request_for_metadata_creates_no_topic() -> None:
    """However often it is said."""
    module = SimpleNamespace(MetadataRequest=_Request)
    create_no_topics(module)
    once = module.MetadataRequest
    create_no_topics(module)
    assert module.MetadataRequest is once
    assert once(["a"]).asked == (["a"], False)
    assert once().asked == (None, False)
