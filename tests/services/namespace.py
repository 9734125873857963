"""Names of its own for every test, so that tests share services without seeing each other."""

import secrets
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Namespace:
    """Prefixes and a consumer group that nobody else uses; nothing is flushed or deleted afterwards."""

    topic_prefix: str
    redis_prefix: str
    group: str

    @classmethod
    def fresh(cls) -> Self:
        """A namespace with a random name of 48 bits."""
        name = f"t{secrets.token_hex(6)}"
        return cls(topic_prefix=name, redis_prefix=name, group=name)

    def environ(self) -> dict[str, str]:
        """The same as settings for a child process."""
        return {
            "SLEEP_TOPIC_PREFIX": self.topic_prefix,
            "SLEEP_REDIS_PREFIX": self.redis_prefix,
            "SLEEP_CONSUMER_GROUP": self.group,
        }
