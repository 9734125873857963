"""Spans of what a piece did: for each of its events that carries a trace context. Only imported where tracing is on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from schemas.tracing.carriage import trace_of
from schemas.tracing.tracing import Tracing
from worker.fold.decoding import Decoded
from worker.fold.piece import Piece
from worker.partition.pending_batch import PendingBatch
from worker.partition.piece_processor import PieceProcessor
from worker.ports import Commit

MOST_TRACED: Final = 100
"""The most events of one piece that get spans: the first ones that carry a context. A piece may have thousands."""


class TracedPieceProcessor(PieceProcessor):
    """A `PieceProcessor` that makes spans. The steps are those of a piece, which all of its events share.

    A traced event gets the span `process sleep.events` with the children `load`, `fold`, `publish` and `commit`. The
    commit also answers the caller.

    Args:
        args: as `PieceProcessor`.
        tracing: makes the spans.
    """

    def __init__(self, *args: Any, tracing: Tracing) -> None:  # noqa: ANN401 - those of `PieceProcessor`
        super().__init__(*args)
        self._tracing = tracing
        self._steps: list[tuple[str, int, int]] = []
        self._traced: list[tuple[Decoded, str]] = []

    async def process(self, pending: PendingBatch, position: int) -> int | None:
        """Process the next piece; see `PieceProcessor`. However it ends, its spans end with it."""
        self._steps, self._traced = [], []
        begun, finding = time.time_ns(), "stopped"
        try:
            after = await super().process(pending, position)
            finding = "" if after is not None else "refused: Redis or the states topic is elsewhere; read again"
        except Exception as error:
            finding = str(error)
            raise
        finally:
            self._try_to_make_spans(begun, time.time_ns(), finding)
        return after

    async def _load(self, pending: PendingBatch, position: int) -> bool:
        with self._step("load"):
            return await super()._load(pending, position)

    async def _fold(self, pending: PendingBatch) -> tuple[Piece, list[Decoded]]:
        with self._step("fold"):
            piece, decoded = await super()._fold(pending)
        for item in decoded:
            if (traceparent := trace_of(item.record)) is not None:
                self._traced.append((item, traceparent))
                if len(self._traced) == MOST_TRACED:
                    break
        return piece, decoded

    async def _emit(self, piece: Piece) -> bool:
        with self._step("publish"):
            return await super()._emit(piece)

    async def _commit(self, commit: Commit) -> bool:
        with self._step("commit"):
            return await super()._commit(commit)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        begun = time.time_ns()
        try:
            yield
        finally:
            self._steps.append((name, begun, time.time_ns()))

    def _try_to_make_spans(self, begun: int, ended: int, finding: str) -> None:
        """Make the spans. An error of a library, of a sampler that a variable names, say, must not stop the lane."""
        try:
            self._make_spans(begun, ended, finding)
        except Exception:  # noqa: BLE001 - see above
            self._log.exception("spans_not_made")

    def _make_spans(self, begun: int, ended: int, finding: str) -> None:
        """Make the spans of one piece; times in ns since 1970, and a finding if the piece was not committed."""
        tracer, topics = self._tracing.tracer, self._context.outputs.topics
        for (record, event, tenant), traceparent in self._traced:
            span = tracer.start_span(
                f"process {topics.events}",
                context=self._tracing.context_of(traceparent),
                kind=SpanKind.CONSUMER,
                start_time=begun,
                attributes={
                    "messaging.system": "kafka",
                    "messaging.operation.name": "process",
                    "messaging.destination.name": topics.events,
                    "messaging.destination.partition.id": str(self._partition),
                    "messaging.kafka.offset": record.offset,
                    "sleep.tenant": tenant or "",
                    "sleep.event_type": getattr(event, "type", "dead_letter"),
                },
            )
            if finding:
                span.set_status(Status(StatusCode.ERROR, finding))
            for name, step_begun, step_ended in self._steps:
                child = tracer.start_span(name, context=set_span_in_context(span), start_time=step_begun)
                child.end(step_ended)
            span.end(ended)
