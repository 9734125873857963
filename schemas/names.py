"""Names of topics, Redis keys and channels. All other modules take them from here."""

from typing import Final, NamedTuple

RECEIPT_KEPT_MS: Final = 86_400_000
"""Lifetime of a receipt that no commit deletes: one day."""


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
    """The Redis keys of one partition. They share a hash tag, so that one script may use all of them."""

    __slots__ = ("counts", "ended", "open", "operations", "progress", "tag", "tenants", "timers")

    def __init__(self, prefix: str, partition: int) -> None:
        self.tag = f"{{{prefix}:{partition}}}"
        self.progress = f"{self.tag}:progress"  # hash: see worker/adapters/lua/commit.lua
        self.tenants = f"{self.tag}:tenants"  # hash: tenant -> packed record
        self.timers = f"{self.tag}:timers"  # sorted set: tenant by the time of its next timer, ms
        self.counts = f"{self.tag}:counts"  # hash: state -> number of tenants
        self.open = f"{self.tag}:open"  # set: tenants with a pin or an open-ended claim
        self.operations = f"{self.tag}:operations"  # hash: see schemas/redis/command_memory.py
        self.ended = f"{self.tag}:ended"  # list: the commands of that hash that have ended, with their ends

    @property
    def fixed(self) -> list[str]:
        """The keys of every partition, in the order of the scripts' KEYS."""
        return [
            self.progress, self.tenants, self.timers, self.counts, self.open, self.operations, self.ended
        ]  # fmt: skip

    @property
    def probe(self) -> str:
        """The name of the key for a trial write, which creates no key."""
        return f"{self.tag}:probe"

    def operation(self, tenant: str, operation_id: str) -> str:
        """Return the key of a command's record before layout 3 of progress. It expires nine days after its end.

        A tenant id holds no slash, so the pair is unambiguous.
        """
        return f"{self.tag}:operation:{tenant}/{operation_id}"

    def receipt(self, tenant: str, operation_id: str) -> str:
        """Return the key of the API's receipt for a command, which the fold never reads."""
        return f"{self.tag}:receipt:{tenant}/{operation_id}"

    def limit(self, tenant: str, budget: str, seconds: int) -> str:
        """Return the key of a tenant's window of a budget."""
        return f"{self.tag}:limit:{budget}:{seconds}:{tenant}"


def reply_channel(prefix: str, process_id: str) -> str:
    """Return the pub/sub channel on which an API process receives the outcomes of its commands."""
    return f"{prefix}:reply:{process_id}"


def limit_key(prefix: str, kind: str, name: str, budget: str, seconds: int) -> str:
    """Return the key of a window of a budget for a payer that is not a tenant. Its keys share a hash tag."""
    return f"{{{prefix}:{kind}:{name}}}:limit:{budget}:{seconds}"


def rules_key(number: int) -> str:
    """Return the key of a rules record on the states topic; no tenant id starts with an asterisk."""
    return f"*rules:{number}"
