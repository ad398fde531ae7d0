"""Runs one group with an engine: every request is answered once, whatever one of them does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from modelmora.engines.base import (
    Engine,
    Outputs,
    Plan,
    Row,
    Withdrawn,
    give_back,
    is_out_of_memory,
)
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.kafka.sizes import OUTPUT_BYTES, outputs_too_large
from modelmora.messages import Content, InferenceRequest, Parameter
from modelmora.messages.device import step
from modelmora.text import printable
from modelmora.wire import decode_request, encode_outputs
from modelmora.workers.batches import Batches
from modelmora.workers.chunks import LIFE_S, Chunk, Stream
from modelmora.workers.protocol import Run, RunItem

log = logging.getLogger("modelmora.child")


class Control(Protocol):
    """What a group asks of the process around it."""

    def poll(self) -> None:
        """Take in what the node has sent meanwhile; called before each micro-batch."""
        ...

    def is_cancelled(self, index: int) -> bool:
        """Whether the node has taken this request back."""
        ...

    def batch_done(self) -> None:
        """A micro-batch ended: its answers may leave."""
        ...

    def tell(self, chunk: Chunk) -> None:
        """A request tells how far it is."""
        ...

    def learned(self, news: Mapping[str, int | None]) -> None:
        """The node should know this of batches, before the next one runs."""
        ...


# index, Avro outputs or None, error or None, inference ms, settings of `Outputs`
Answer = Callable[
    [int, bytes | None, RequestError | None, float, Mapping[str, Parameter] | None], None
]


@dataclass(slots=True)
class SafeSize:
    """The largest batch that is known not to run out of memory, learned by running out.

    `largest` is the largest that was begun and may be again, rounded up to a power of two; `told`
    is what the node knows of both.
    """

    limit: int | None = None
    largest: int = 0
    told: tuple[int | None, int] = (None, 0)

    def __post_init__(self) -> None:
        self.told = self.limit, 0

    def lower(self, cost: int) -> None:
        """A batch of this cost ran out of memory."""
        self.limit = max(1, min(cost, self.limit or cost) // 2)
        self.largest = min(self.largest, step(self.limit))

    def begin(self, cost: int) -> dict[str, int | None] | None:
        """A batch of this cost is about to run; what the node should know before it measures that.

        A limit that has fallen, or that it is larger than those before.
        """
        self.largest = max(self.largest, step(max(cost, 1)))
        if self.told == (self.limit, self.largest):
            return None
        self.told = self.limit, self.largest
        return {"safe_cost": self.limit, "cost": self.largest}

    def allows(self, cost: int) -> bool:
        """Whether a batch of this cost may be tried."""
        return self.limit is None or cost <= self.limit


@dataclass(slots=True)
class _Open:
    """A request that is not answered yet; `parts` grows as its rows are done."""

    request: InferenceRequest
    parts: dict[int, Any] = field(default_factory=dict)
    missing: int = 0
    tokens: int = 0
    ms: float = 0.0
    stream: Stream | None = None


class GroupRun:
    """One group on its way through the engine."""

    def __init__(
        self, engine: Engine, run: Run, safe: SafeSize, control: Control, answer: Answer
    ) -> None:
        self._engine = engine
        self._run = run
        self._safe = safe
        self._control = control
        self._answer = answer
        self._open: dict[int, _Open] = {}
        self.batches = Batches()
        self._alive_at = time.monotonic()
        engine.on_step = self._on_step  # type: ignore[attr-defined]  # most have no use for it

    def execute(self) -> None:
        """Answer every request of the group exactly once; raises nothing of the engine's."""
        for index, value in enumerate(self._run.values):
            try:
                self._open[index] = _Open(decode_request(value))
            except Undecodable as undecodable:
                self._answer(index, None, undecodable, 0.0, None)
        plan = self._plan([(index, entry.request) for index, entry in self._open.items()])
        for index, error in plan.refused:
            self._fail(index, error)
        for batch in plan.batches:
            for row in batch:
                if row.index in self._open:
                    self._open[row.index].missing += 1
        for batch in plan.batches:
            self._control.poll()
            self._compute(batch)
            self._control.batch_done()
        for index in list(self._open):
            self._finish(index)

    def _plan(self, requests: Sequence[tuple[int, InferenceRequest]]) -> Plan:
        """The engine's plan; what it cannot plan is halved until the culprit is alone."""
        if not requests:
            return Plan()
        try:
            return self._engine.plan(requests, self._run.parameters)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything
            failed = described(error, self._item(requests[0][0]))
        if len(requests) == 1:
            return Plan(refused=[(requests[0][0], failed)])
        middle = len(requests) // 2
        left, right = self._plan(requests[:middle]), self._plan(requests[middle:])
        return Plan(left.batches + right.batches, left.refused + right.refused)

    def _compute(self, batch: Sequence[Row]) -> None:
        rows = self._live(batch)
        if not rows:
            return
        cost = len(rows) * max(row.cost for row in rows)
        if len(rows) > 1 and not self._safe.allows(cost):
            self._halves(rows)
            return
        if news := self._safe.begin(cost):
            self._control.learned(news)
        started = time.perf_counter()
        error = self._try(rows, started)
        if error is None:
            return
        if len(rows) == 1:
            ms = (time.perf_counter() - started) * 1e3
            self._open[rows[0].index].ms += ms
            self._fail(rows[0].index, error)
            return
        if error.code is Code.OUT_OF_MEMORY:
            self._safe.lower(cost)
            give_back()
        self._halves(rows)

    def _try(self, rows: Sequence[Row], started: float) -> RequestError | None:
        """Run rows; the error is described here, so that its traceback frees what it held."""
        try:
            outputs = self._engine.run(rows, self._run.parameters)
            if len(outputs) != len(rows):
                raise ValueError("the engine answered another number of rows")
        except Withdrawn as error:
            return described(error, self._item(rows[0].index)) if self._live(rows) else None
        except Exception as error:  # noqa: BLE001  # an engine may raise anything
            return described(error, self._item(rows[0].index))
        ms = (time.perf_counter() - started) * 1e3
        self._count([row.cost for row in rows])
        touched: dict[int, _Open] = {}
        for row, output in zip(rows, outputs, strict=True):
            entry = self._open.get(row.index)
            if entry is None:  # taken back between two steps
                continue
            touched[row.index] = entry
            entry.parts[row.part] = output
            entry.missing -= 1
            entry.tokens += row.tokens
        for index, entry in touched.items():
            entry.ms += ms
            if entry.missing == 0:
                self._finish(index)
        return None

    def _count(self, costs: Sequence[int]) -> None:
        """A batch of rows that cost so much was computed."""
        if getattr(self._engine, "pads", False):
            self.batches.add(len(costs), sum(costs), len(costs) * max(costs))
        else:
            self.batches.add(len(costs))

    def _on_step(self, rows: Sequence[Row], done: int, total: int) -> None:
        """The engine is so far with these rows. Raises Withdrawn where all were taken back."""
        self._control.poll()
        rows = self._live(rows)
        if not rows:
            raise Withdrawn
        now = time.monotonic()
        for index in sorted({row.index for row in rows}):
            entry = self._open[index]
            if not entry.request.progress:
                continue
            if entry.stream is None:
                entry.stream = Stream(self._run.requests[index].told, index)
            for chunk in entry.stream.step(done, total, now):
                self._control.tell(chunk)
                self._alive_at = now
        if now - self._alive_at >= LIFE_S:
            self._alive_at = now
            self._control.tell(Chunk(rows[0].index, 0))

    def _halves(self, rows: Sequence[Row]) -> None:
        middle = len(rows) // 2
        self._compute(rows[:middle])
        self._compute(rows[middle:])

    def _live(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows whose requests are still wanted."""
        for index in {row.index for row in rows}:
            if self._control.is_cancelled(index):
                self._fail(index, RequestError(Code.CANCELLED, "cancelled before it was computed"))
        return [row for row in rows if row.index in self._open]

    def _finish(self, index: int) -> None:
        entry = self._open[index]
        try:
            parts = [entry.parts[part] for part in range(len(entry.parts))]
            finished = self._engine.finish(entry.request, parts)
            if not isinstance(finished, Outputs):
                finished = Outputs(finished)
            outputs = encoded(finished.contents)
            settings = finished.settings
            if entry.tokens:
                settings = {"prompt_tokens": entry.tokens, **settings}
            self._answer(index, outputs, None, entry.ms, settings)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything
            self._fail(index, described(error, self._item(index)))
            return
        del self._open[index]

    def _fail(self, index: int, error: RequestError) -> None:
        entry = self._open.pop(index, None)
        if entry is not None:
            self._answer(index, None, error, entry.ms, None)

    def _item(self, index: int) -> RunItem:
        return self._run.requests[index]


def encoded(outputs: Sequence[Content]) -> bytes:
    """The outputs as they stand in a result. Raises RequestError where none takes them."""
    found = encode_outputs(outputs)
    if len(found) > OUTPUT_BYTES:
        raise outputs_too_large(OUTPUT_BYTES)
    return found


def described(error: Exception, request: RunItem) -> RequestError:
    """An engine's exception as a request's error: never its text, which may hold content."""
    if isinstance(error, RequestError):
        return error
    if is_out_of_memory(error):
        return RequestError(Code.OUT_OF_MEMORY, "the model ran out of memory on this request alone")
    where = place_of(error)
    trace = f" (traceparent {printable(request.traceparent)})" if request.traceparent else ""
    log.warning("request %s%s failed: %s", printable(request.id), trace, where)
    return RequestError(Code.INFERENCE_FAILED, f"the model failed on this request ({where})")


def place_of(error: BaseException) -> str:
    """An exception's type and the line it came from, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    kind = type(error).__name__
    if trace is None:
        return kind
    return f"{kind} at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
