"""Findings on the topics and their numbers of partitions, for worker, API and command line."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.names import Topics

CREATE: Final = "run `sleepctl topics create`"
_TENANT_TOPICS: Final = ("events", "states", "transitions")
"""A tenant has the same partition in each of these. The other topics may have any number of partitions."""


class TopicHealth(NamedTuple):
    """The findings, a sentence each.

    Attributes:
        bad: by topic, why the pipeline cannot work.
        weak: by topic, a weaker configuration than specified.
    """

    bad: dict[str, str]
    weak: dict[str, str]


def judge_topics(topics: Topics, partitions: int, counts: Mapping[str, int]) -> TopicHealth:
    """Return the findings on the topics' numbers of partitions.

    Args:
        topics: the topics of the installation.
        partitions: the number that each must have.
        counts: the number that each has; absent or 0 for a missing topic.
    """
    bad: dict[str, str] = {}
    weak: dict[str, str] = {}
    for field, name in topics._asdict().items():
        count = counts.get(name, 0)
        if not count:
            bad[name] = f"topic {name} is missing, or an ACL hides it; {CREATE}"
        elif field in _TENANT_TOPICS and count != partitions:
            bad[name] = wrong_count(name, count, partitions)
        elif count < partitions:
            weak[name] = f"topic {name} has {count} of {partitions} partitions; {CREATE}, which adds the others"
    return TopicHealth(bad, weak)


def wrong_count(name: str, count: int, partitions: int) -> str:
    """Return the finding on a topic with another number of partitions than the setting."""
    return (
        f"topic {name} has {count} partitions and SLEEP_PARTITIONS is {partitions}; where the topic is as it was, set "
        f"SLEEP_PARTITIONS back; where a deleted topic was made anew, delete it (`kafka-topics.sh --delete --topic "
        f"{name}`) and {CREATE}"
    )


def create_no_topics(*modules: Any) -> None:  # noqa: ANN401 - modules of aiokafka, which this package does not import
    """Make aiokafka's clients request metadata without creating topics.

    With `auto.create.topics.enable` (the default) a broker creates a topic that a request names, with the broker's own
    number of partitions. aiokafka has no option for it.

    Args:
        modules: each module of aiokafka that makes metadata requests.
    """
    for module in modules:
        request = module.MetadataRequest
        if not getattr(request, "creates_no_topics", False):
            module.MetadataRequest = _without_creation(request)


def _without_creation(request: Any) -> Any:  # noqa: ANN401 - aiokafka's
    class MetadataRequest(request):  # type: ignore[misc]  # aiokafka's class, which is not known here
        """A request that creates no topic. Brokers before 0.11 do not support it."""

        creates_no_topics: Final = True

        def __init__(self, topics: list[str] | None = None) -> None:
            super().__init__(topics, allow_auto_topic_creation=False)

    return MetadataRequest
