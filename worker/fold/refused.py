"""An event that the fold refused, for whoever counts and logs it."""

from typing import NamedTuple

from schemas.wire.operation import RefusalCode


class Refused(NamedTuple):
    """An event that changed nothing; `source` is the CloudEvent's, `detail` tells people why it was refused."""

    code: RefusalCode
    type: str
    tenant: str
    source: str
    position: str
    detail: str
