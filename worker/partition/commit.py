"""Builds the commit of a folded piece: the only place that says what a piece writes to Redis. Pure."""

import re

from schemas.kafka.source_record import SourceRecord
from schemas.redis.progress import ProgressUpdate, pack_rules
from worker.fold.piece import Piece
from worker.fold.written import count_changes
from worker.partition.startup_checks import checksum
from worker.ports import Commit


def build_commit(
    piece: Piece, position: int, last: SourceRecord, lane: ProgressUpdate, reply_channel: re.Pattern[str]
) -> Commit:
    """Return the commit of a piece.

    Args:
        piece: the piece, folded.
        position: where the partition must be in Redis, or else the commit is refused.
        last: the last record of the piece.
        lane: the fields of progress that come from the lane, and not from the piece.
        reply_channel: matches the Redis channels to which answers may go.
    """
    written = piece.written()
    return Commit(
        position=position,
        progress=lane._replace(
            next=last.offset + 1,
            timestamp=last.timestamp,
            crc=checksum(last.key, last.value),
            highest=piece.highest,
            rules=pack_rules(piece.rules) if piece.published_rules else None,
        ),
        records={tenant: item.packed for tenant, item in written.items() if item.packed is not None},
        removed_records=[tenant for tenant, item in written.items() if item.packed is None],
        timers={tenant: item.due for tenant, item in written.items() if item.due is not None},
        removed_timers=[tenant for tenant, item in written.items() if item.due is None],
        count_changes=count_changes(piece.before, piece.records),
        open_ended={tenant: written[tenant].open_ended for tenant in piece.published},
        operations=piece.packed_operations(),
        ended_operations=piece.ended(),
        removed_receipts=list(piece.receipts),
        forget_to=piece.forget_to,
        # A caller without a channel of ours reads the outcome from the operation's record.
        answers=[answer for answer in piece.answers if reply_channel.fullmatch(answer[0])],
    )
