"""Names of topics, Redis keys and channels. Nothing else in the project spells one out."""

from typing import Final, NamedTuple

OPERATION_KEPT_MS: Final = 9 * 86_400_000
"""How long the key of a finished command stays: the events' retention (7 days) and two days."""
RECEIPT_KEPT_MS: Final = 86_400_000
"""How long a receipt stays that no commit deletes: one day."""


class Topics(NamedTuple):
    """The topics of one installation."""

    events: str
    states: str
    transitions: str
    breakers: str
    deadletter: str

    @classmethod
    def of(cls, prefix: str) -> "Topics":
        """Return the names under a prefix."""
        return cls(*(f"{prefix}.{name}" for name in cls._fields))


class PartitionKeys:
    """The Redis keys of one partition. They share a hash tag, so that one script may touch them all."""

    __slots__ = ("counts", "open", "progress", "tag", "tenants", "timers")

    def __init__(self, prefix: str, partition: int) -> None:
        self.tag = f"{{{prefix}:{partition}}}"
        self.progress = f"{self.tag}:progress"  # hash: see worker/lua/commit.lua
        self.tenants = f"{self.tag}:tenants"  # hash: tenant -> packed record
        self.timers = f"{self.tag}:timers"  # sorted set: tenant by the time of its next timer, ms
        self.counts = f"{self.tag}:counts"  # hash: state -> number of tenants
        self.open = f"{self.tag}:open"  # set: tenants with a pin or an open-ended claim

    def operation(self, tenant: str, operation_id: str) -> str:
        """Return the key of a command's record; a tenant id holds no slash, so the pair is unambiguous."""
        return f"{self.tag}:operation:{tenant}/{operation_id}"

    def receipt(self, tenant: str, operation_id: str) -> str:
        """Return the key of the API's receipt for a command, which the fold never reads."""
        return f"{self.tag}:receipt:{tenant}/{operation_id}"


def reply_channel(prefix: str, process_id: str) -> str:
    """Return the pub/sub channel on which one API process hears the outcomes of its commands."""
    return f"{prefix}:reply:{process_id}"


def limits_prefix(prefix: str) -> str:
    """Return the first part of the keys that hold what is left of the rate limits."""
    return f"{prefix}:limits"


def rules_key(number: int) -> str:
    """Return the key of a rules record on the states topic; no tenant id starts with an asterisk."""
    return f"*rules:{number}"
