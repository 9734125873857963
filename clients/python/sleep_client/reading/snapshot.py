"""A snapshot that is being received. It counts once it is complete, and all at once."""

from typing import NamedTuple

from sleep_client.reading.listed import Listed
from sleep_client.reading.parameters import ParameterSet


class PartitionRules(NamedTuple):
    """The rules of a partition.

    Attributes:
        partition: its number.
        partitions: how many there are.
        offset: of the position up to which the stream has all states of the partition; -1 for none.
        default: the default active set.
    """

    partition: int
    partitions: int
    offset: int
    default: ParameterSet


class Snapshot:
    """What a snapshot has brought so far."""

    def __init__(self) -> None:
        self.records: dict[str, Listed] = {}
        self.rules: dict[int, PartitionRules] = {}
