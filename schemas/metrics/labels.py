"""Labels that several metrics have."""

from typing import Final

from schemas.formats.settings import HTTP_FORMATS
from schemas.metrics.definition import Label

BOUND: Final = Label("bound", ("client", "process"))
FORMAT: Final = Label("format", HTTP_FORMATS)
PARTITION: Final = Label("partition", bound="the numbers from 0 to `SLEEP_PARTITIONS` - 1")
SEVERITY: Final = Label("severity", ("bad", "warning"))
TOPIC: Final = Label("topic", bound="the topics that `SLEEP_INGRESS` names")
