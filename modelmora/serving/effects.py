"""Between the scheduler and the world: its effects, and what the workers report back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, cast

import structlog

from modelmora.errors import Code, RequestError
from modelmora.messages import EventKind, Health, Parameter, State, Timings
from modelmora.scheduling import (
    Chunk,
    Group,
    ItemResult,
    KillReason,
    ModelKey,
    ModelSpec,
    Need,
    Placement,
    Scheduler,
    Work,
)
from modelmora.serving.clock import BrokerClock
from modelmora.serving.request import Incoming, Outcomes
from modelmora.serving.shares import Shares
from modelmora.workers import Batches, ExitReason, ExitReport, Held
from modelmora.workers import Chunk as WorkerChunk
from modelmora.workers import ItemResult as WorkerResult

log = structlog.get_logger(__name__)


class Workers(Protocol):
    """The child processes; each order returns at once and is answered by an event."""

    def preload(self, modules: Iterable[str]) -> None:
        """Import these before a child is started that needs them."""

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        """Start a child and load the model there."""

    def run(self, group: Group) -> None:
        """Hand it a group."""

    def threads(self, replica: int, count: int) -> None:
        """Have it compute with so many CPU threads from now on."""

    def cancel(self, group_id: int, index: int) -> None:
        """Leave out one request of a group."""

    def kill(self, replica: int, reason: str) -> None:
        """End the child."""


class Runs(Protocol):
    """Is told of groups as they run."""

    def begun(self, group: Group) -> None:
        """It is handed to its child."""

    def done(self, replica: int, group: int, run_ms: float) -> None:
        """The child has run it, for so long."""

    def gone(self, replica: int) -> None:
        """The child runs nothing any more."""


_TOLD_OF_CHILD = (State.LOADING, State.READY, State.COLD)
_IN_MEMORY = (State.LOADING, State.READY, State.DRAINING, State.LEAVING)


def event_of(was: Health, health: Health) -> tuple[EventKind, Mapping[str, Parameter]] | None:
    """What is told where a model stands elsewhere than before, with its facts.

    (1) A child of it began to load, is ready, or is gone: `loading`, `loaded`, `unloaded` or
        `crashed` tell of that, with what was measured; nothing more.
    (2) It cannot be served: `load_failed`, or `quarantined`.
    (3) Else, such as that it drains: `health_changed`.
    """
    state = health.state
    # (1) Told already.
    if state in _TOLD_OF_CHILD and (state is not State.COLD or was.state in _IN_MEMORY):
        return None
    # (2) Cannot be served.
    if state in (State.FAILED, State.QUARANTINED):
        code = Code.CANNOT_BE_SERVED if health.hopeless else Code.MODEL_UNAVAILABLE
        kind = EventKind.LOAD_FAILED if state is State.FAILED else EventKind.QUARANTINED
        wait_ms = health.retry_after_ms
        return kind, {"code": code.value, "message": health.reason, "retry_after_ms": wait_ms}
    # (3) Else.
    return EventKind.HEALTH_CHANGED, {"was": was.state.value, "state": state.value}


def timings(
    request: Incoming, clock: BrokerClock, load_ms: float = 0.0, inference_ms: float = 0.0
) -> Timings:
    """Where the time of a request went: what is neither load nor inference was waiting."""
    record = request.record
    now_ms = clock.now_ms((record.topic, record.partition))
    total = max(now_ms - request.asked_ms, load_ms + inference_ms)
    return Timings(total - load_ms - inference_ms, load_ms, inference_ms, total)


class NodeEffects:
    """The scheduler's `Effects`: orders go to the workers, outcomes and events to `Outcomes`."""

    workers: Workers

    def __init__(
        self, outcomes: Outcomes, clock: BrokerClock, shares: Shares | None = None
    ) -> None:
        self.outcomes = outcomes
        self.runs: Runs | None = None
        self._shares = shares or Shares()
        self.replicas: dict[int, ModelKey] = {}
        self.exit_codes: dict[ModelKey, int] = {}
        self._clock = clock

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        """Fork a child for the model."""
        self.replicas[replica] = spec.key
        facts: dict[str, Parameter] = {
            "replica": replica,
            "device": place.device.label,
            "cause": place.cause.value,
            "ram_bytes": place.need.ram,
            "gpu_bytes": place.need.gpu or None,
        }
        self.outcomes.event(EventKind.LOADING, spec.key, facts)
        self.workers.load(replica, spec, place)

    def others(self, replica: int) -> int:
        """How many more children its model has that are not gone yet."""
        key = self.replicas.get(replica)
        return sum(one == key for one in self.replicas.values()) - 1 if key else 0

    def run(self, group: Group) -> None:
        """Hand a group to its child."""
        if self.runs:
            self.runs.begun(group)
        self.workers.run(group)

    def threads(self, replica: int, count: int) -> None:
        """Tell a child of its share of the cores."""
        self.workers.threads(replica, count)

    def cancel(self, group: int, index: int) -> None:
        """Tell the child that nobody waits for this item."""
        self.workers.cancel(group, index)

    def kill(self, replica: int, reason: KillReason) -> None:
        """End a child."""
        self.workers.kill(replica, reason)

    def turned(self, model: ModelKey, was: Health, health: Health) -> None:
        """The model stands elsewhere now."""
        if told := event_of(was, health):
            self.outcomes.event(told[0], model, told[1])

    def started(self, work: Work) -> None:
        """The child works on it."""
        request = cast("Incoming", work.meta)
        if request.unsaid:  # in this order
            request.unsaid()
        if request.head.progress or request.job:
            self.outcomes.started(request, work.model)

    def progressed(self, work: Work, chunk: Chunk) -> None:
        """The child has more of its output, or has come further; told where that was asked for."""
        request, said = cast("Incoming", work.meta), cast("WorkerChunk", chunk)
        if request.head.progress:
            request.told = request.told.and_then(said)
            self.outcomes.progressed(request, work.model, said, work.attempt)

    def answered(self, work: Work, result: ItemResult) -> None:
        """The child has answered: outputs, or an error of this item alone."""
        self._shares.leave(work)
        request, item = cast("Incoming", work.meta), cast("WorkerResult", result)
        spent = timings(request, self._clock, work.load_ms, item.inference_ms)
        if item.error:
            self.outcomes.failed(request, work.model, item.error, spent, work.attempt)
            return
        used = {**(request.settings or {}), **(item.settings or {})}
        outputs = cast("bytes", item.outputs)
        self.outcomes.completed(request, work.model, outputs, used, spent, work.attempt)

    def failed(self, work: Work, error: RequestError) -> None:
        """It ends without an answer of the child."""
        self._shares.leave(work)
        request = cast("Incoming", work.meta)
        spent = timings(request, self._clock, work.load_ms)
        crashed = error.code in (Code.WORKER_CRASH, Code.RETRIES_SPENT)
        exit_code = self.exit_codes.get(work.model) if crashed else None
        self.outcomes.failed(request, work.model, error, spent, work.attempt, exit_code)


class Listener:
    """What the workers report, told to the scheduler with its time, and to the world."""

    def __init__(
        self,
        scheduler: Scheduler,
        effects: NodeEffects,
        arm: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._effects = effects
        self._arm = arm
        self._now = monotonic
        self.batched: Callable[[str, Batches], None] = lambda _model, _batches: None
        self.late_results = 0
        """What was computed to the end although nobody waited for it any more."""

    def on_loaded(self, replica: int, info: Mapping[str, object], load_ms: float) -> None:
        """The model is in memory."""
        private, first = info.get("private_bytes"), info.get("warm_up_ms")
        size = private if isinstance(private, int) else 0
        facts: dict[str, Parameter] = {
            "load_ms": round(load_ms, 1),
            "warm_up_ms": max(0.0, float(first)) if isinstance(first, int | float) else None,
            "private_bytes": size,
            "sandbox": str(info.get("sandbox", "unknown")),
        }
        self._event(EventKind.LOADED, replica, facts)
        self._scheduler.on_loaded(replica, load_ms, Need(size), self._now())
        self._arm()

    def on_load_failed(self, replica: int, code: Code, message: str) -> None:
        """The child cannot load it."""
        broken = code is Code.CANNOT_BE_SERVED
        self._scheduler.on_load_failed(replica, message, self._now(), broken=broken)
        self._arm()

    def on_started(self, replica: int, group: int) -> None:
        """It runs a group."""
        self._scheduler.on_started(replica, group, self._now())

    def on_results(self, replica: int, group: int, results: Sequence[WorkerResult]) -> None:
        """Items of a group are answered; what comes too late is no second outcome."""
        late = self._scheduler.on_results(replica, group, results, self._now())
        computed = sum(cast("WorkerResult", each).error is None for each in late)
        if computed:
            self.late_results += computed
            key = self._effects.replicas.get(replica)
            log.info("results came too late", model="@".join(key or ()), results=computed)

    def on_chunk(self, replica: int, group: int, chunk: WorkerChunk) -> None:
        """A request tells something, if only that its child lives."""
        self._scheduler.on_chunk(replica, group, chunk, self._now())

    def on_batches(self, replica: int, batches: Batches) -> None:
        """What the batches of a group of its model were like."""
        if key := self._effects.replicas.get(replica):
            self.batched(key[0], batches)

    def on_group_done(self, replica: int, group: int, run_ms: float) -> None:
        """It has a free place."""
        if runs := self._effects.runs:
            runs.done(replica, group, run_ms)
        self._scheduler.on_group_done(replica, group, run_ms, self._now())
        self._arm()

    def on_exited(self, replica: int, report: ExitReport) -> None:
        """It is gone; killed on purpose or not, the event carries what was measured."""
        expected = report.reason in (ExitReason.KILLED, ExitReason.LOAD_FAILED)
        killed = report.reason is ExitReason.KILLED
        facts: dict[str, Parameter] = {
            "reason": report.detail if killed else report.reason.value,
            "message": None if killed else report.detail,
            "exit_code": report.exit_code,
            "private_bytes": report.private_bytes or None,
            "tree_before_bytes": report.tree_before or None,
            "tree_after_bytes": report.tree_after or None,
            "returned_share": report.returned_share,
            "gpu_bytes": report.gpu_bytes or None,
            "gpu_kept_bytes": report.gpu_kept or None,
            "replicas": self._effects.others(replica),
        }
        if runs := self._effects.runs:
            runs.gone(replica)
        self._event(EventKind.UNLOADED if expected else EventKind.CRASHED, replica, facts)
        key = self._effects.replicas.pop(replica, None)
        if key and report.exit_code is not None:
            self._effects.exit_codes[key] = report.exit_code
        self._scheduler.on_exited(replica, self._now())
        self._arm()

    def on_memory(self, replica: int, held: Held) -> None:
        """What it held, sampled, and the batches that it can."""
        need = Need(held.private_bytes, held.gpu_bytes)
        self._scheduler.on_memory(replica, need, self._now(), held.cost, held.safe_cost)
        self._arm()

    def _event(self, kind: EventKind, replica: int, facts: Mapping[str, Parameter]) -> None:
        key = self._effects.replicas.get(replica)
        if key:
            self._effects.outcomes.event(kind, key, facts)
