"""The heart: one object that owns what waits and what runs, and decides what happens next."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence, Set
from dataclasses import replace
from itertools import count

from modelmora.errors import Code, ModelMoraError, RequestError
from modelmora.messages import Health, State
from modelmora.records.measured import Measured
from modelmora.scheduling.admission import admit, too_large
from modelmora.scheduling.behind import Behind
from modelmora.scheduling.device import Need
from modelmora.scheduling.effects import Chunk, Effects, ItemResult
from modelmora.scheduling.ending import Endings
from modelmora.scheduling.fleet import Fleet
from modelmora.scheduling.line.work import Cancelled, Group, Meant, Work
from modelmora.scheduling.model import KillReason, ModelKey, ModelSpec, ModelStatus
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.recovery import recover
from modelmora.scheduling.state import Model, Run
from modelmora.scheduling.unasked import load_unasked
from modelmora.scheduling.waits import Waits

_REMOVED = "its model is not served here any more"
_LATE = "it would not be done by its deadline; give it more time, or a higher lane"


class Scheduler:
    """Decides what runs next, which group goes to which child, which model must leave.

    It has no clock, no tasks and no locks: every method is an event with its time (`now`,
    monotonic seconds, never falling), runs to its end, and acts only through `Effects`. Each event
    first ends what has expired, so that no decision is ever taken about expired work.
    """

    def __init__(self, effects: Effects, policy: Policy) -> None:
        self._effects = effects
        self._policy = policy
        self._singly = replace(policy, group_requests=1)
        self._fleet = Fleet(effects, policy)
        self._ends = Endings(effects, self._fleet.models)
        self._book = self._ends.book
        self._group_ids = count(1)
        self.waits = Waits(self._fleet, policy)
        self.behind = Behind(self._fleet, policy)

    # What is known -------------------------------------------------------------------------------

    def add_model(self, spec: ModelSpec, now: float) -> None:
        """Serve this model; a changed specification lets the running child finish and leave."""
        self._ends.late(now)
        self._fleet.add(spec)
        self._ends.refuse_broken(self._fleet.models[spec.key])
        self._advance(now)

    def remove_model(self, key: ModelKey, now: float) -> None:
        """Serve it no more: what waits is answered, what was started may finish."""
        self._ends.late(now)
        model = self._fleet.models.get(key)
        if model:
            self._ends.refuse(model, Code.UNKNOWN_MODEL, _REMOVED)
            self._fleet.remove(model)
        self._advance(now)

    def load(self, key: ModelKey, now: float, *, ahead: bool = False) -> Health:
        """Load the model, pause or not; `ahead`: see `load_unasked`. Raises NotFound."""
        self._ends.late(now)
        model = self._fleet.known(key)
        load_unasked(self._fleet, model, self._policy, now, ahead=ahead)
        self._advance(now)
        return self._fleet.health(model, now)

    def unload(self, key: ModelKey, now: float) -> Health:
        """Give its memory back once its started groups are done. Raises NotFound.

        (1) It is pinned: refused (ModelMoraError).
        (2) It loads: that is cancelled, and what waits for it is answered.
        (3) Else this is no ban: where requests wait, it is loaded again.
        """
        self._ends.late(now)
        model = self._fleet.known(key)
        # (1) Pinned.
        if model.pinned:
            raise ModelMoraError(f"{key[0]}@{key[1]} is pinned; `modelmora unpin` it first")
        # (2) Cancelled.
        if model.state is State.LOADING:
            self._ends.refuse(model, Code.MODEL_UNAVAILABLE, "its load was cancelled", 0)
        # (3) Else.
        self._fleet.dismiss(model, KillReason.UNLOAD)
        self._advance(now)
        return self._fleet.health(model, now)

    def health(self, key: ModelKey, now: float) -> Health:
        """How the model is. Raises NotFound."""
        return self._fleet.health(self._fleet.known(key), now)

    def status(self, now: float) -> tuple[ModelStatus, ...]:
        """All models, for metrics, health and people."""
        return tuple(self._fleet.status(model, now) for model in self._fleet.models.values())

    def measured(self) -> dict[ModelKey, Measured]:
        """What was learned of each model."""
        models = self._fleet.models.items()
        return {key: found for key, model in models if (found := model.measured)}

    def hopeless(self, key: ModelKey) -> str | None:
        """Why no request may wait for the model; None where it may, or is not known."""
        model = self._fleet.models.get(key)
        return self._fleet.hopeless(model) if model else None

    # Requests ------------------------------------------------------------------------------------

    def submit(self, work: Work, now: float) -> bool:
        """Admit a request, start or load what it needs; False: refused, by `Effects.failed`."""
        self._ends.late(now)
        try:
            model = admit(work, self._fleet.models.get(work.model), now)
        except RequestError as error:
            self._effects.failed(work, error)
            return False
        work.queued_at = now
        work.cost = model.runs.of(work.shape) or 0.0
        model.asked(work, now)
        self._book.open(work)
        lane = model.queue.lanes[work.lane]
        lane.append(work)
        if model.replicas:
            self._feed(model, now)
        elif lane.count == 1:  # behind others it finds no more room than they did
            self._fleet.claim(model)
            self._arrange(now)
        return True

    def cancel(self, request_id: str, now: float, meant: Meant = None) -> Cancelled:
        """End all requests of that id that are meant; what runs is stopped in its child."""
        self._ends.late(now)
        found = Cancelled.NOT_FOUND
        for work in filter(meant, self._book.find(request_id)):
            runs = work.group is not None or found is Cancelled.RUNNING
            found = Cancelled.RUNNING if runs else Cancelled.WAITING
            self._ends.end(work, Code.CANCELLED, "cancelled by request", now)
        self._advance(now)
        return found

    def drop(self, partitions: Set[Hashable], now: float, *, started: bool = True) -> list[Work]:
        """Forget the work of partitions that another node serves now; it has no outcome here.

        With `started=False` only what waits: the rest can be awaited by `open_groups`. Returns
        what was forgotten.
        """
        self._ends.late(now)
        dropped = [
            work
            for work in self._book
            if work.partition in partitions and (started or work.group is None)
        ]
        for work in dropped:
            self._ends.abandon(work, now)
        self._advance(now)
        return dropped

    def stop(self, spared: Collection[ModelKey], now: float) -> None:
        """Answer what children work on, but for the spared models; it is not to be finished."""
        self._ends.late(now)
        begun = [each for each in self._book if each.group and each.started_at]
        for work in (each for each in begun if each.model not in spared):
            self._ends.end(work, Code.STOPPED, "its node was stopped before it was complete", now)

    def open_groups(self, partitions: Set[Hashable]) -> frozenset[int]:
        """The groups in which started work of these partitions is not answered yet."""
        return frozenset(
            run.group.id
            for child in self._fleet.replicas.values()
            for run in child.runs.values()
            if any(work.partition in partitions for work in run.open.values())
        )

    # Workers -------------------------------------------------------------------------------------

    def on_loaded(self, replica: int, load_ms: float, held: Need, now: float) -> None:
        """The child has its model, and holds this; RAM 0 = not measured yet."""
        self._ends.late(now)
        child = self._fleet.replicas.get(replica)
        if child is None or child.state is not State.LOADING:
            return
        self._fleet.loaded(child, load_ms, now)
        self._fleet.measure(child, held)
        self._feed(child.model, now)
        self._advance(now)

    def on_load_failed(self, replica: int, why: str, now: float, *, broken: bool = False) -> None:
        """The child cannot load its model; `broken`: nor could any, with these files."""
        self._ends.late(now)
        child = self._fleet.replicas.get(replica)
        if child is None or child.state is not State.LOADING:
            return
        self._fleet.kill(child, KillReason.LOAD_FAILED)
        self._give_up_load(child.model, why, now, broken=broken)
        self._advance(now)

    def on_started(self, replica: int, group: int, now: float) -> None:
        """The child has begun to work on the group."""
        self._ends.late(now)
        child, run = self._fleet.run_of(replica, group)
        if child is None or run is None:
            return
        child.heard = run.began = now
        for work in run.open.values():
            work.started_at = now
            self._effects.started(work)

    def on_results(
        self, replica: int, group: int, results: Sequence[ItemResult], now: float
    ) -> list[ItemResult]:
        """Items answered; returns those for which nobody waits any more, or never did."""
        self._ends.late(now)
        late: list[ItemResult] = []
        child, run = self._fleet.run_of(replica, group)
        if child is None or run is None:
            return [*results]
        for result in results:
            work = run.open.pop(result.index, None)
            if work is None:
                late.append(result)
            else:
                child.heard = now
                child.model.life.well()
                self._book.close(work)
                self._effects.answered(work, result)
        self._feed(child.model, now)
        return late

    def on_chunk(self, replica: int, group: int, chunk: Chunk, now: float) -> None:
        """An item tells something before it is answered, if only that its child lives."""
        self._ends.late(now)
        child, run = self._fleet.run_of(replica, group)
        if child is None or run is None:
            return
        if child.runs_for_somebody:
            child.heard = now
        if chunk.tells and (work := run.open.get(chunk.index)):
            self._effects.progressed(work, chunk)

    def on_group_done(self, replica: int, group: int, run_ms: float, now: float) -> None:
        """The group's place is free; an item it left without an answer has failed."""
        self._ends.late(now)
        child = self._fleet.replicas.get(replica)
        run = child.runs.pop(group, None) if child else None
        if child is None or run is None:
            return
        child.heard = now
        child.model.ran(run, run_ms)
        for work in run.open.values():
            message = "the worker finished without an answer to it"
            self._ends.give_up(work, Code.INFERENCE_FAILED, message)
        self._feed(child.model, now)
        self._advance(now)

    def on_memory(
        self,
        replica: int,
        held: Need,
        now: float,
        cost: int | None = 0,
        safe_cost: int | None = None,
    ) -> None:
        """What the child held while it ran batches up to this cost, and the largest it can.

        Without a cost it is not what the model takes.
        """
        self._ends.late(now)
        child = self._fleet.replicas.get(replica)
        if child:
            self._fleet.measure(child, held, cost, safe_cost)
            self._advance(now)

    def on_exited(self, replica: int, now: float) -> None:
        """The child has ended and its memory is back.

        (1) Not a child of ours, or reported before: nothing.
        (2) It died while loading: that is tried again at once, for it need not be the model's
            fault; after `load_crashes` in a row what waits is answered.
        (3) It held groups: the first is the suspect, see `retry.examine`.
        (4) The model itself brings its children down, see `life.strike`: what waits is answered.
        (5) Its model was removed or broken meanwhile: what went back is answered.
        (6) Then its other children get what went back, and what waits for room has a chance.
        """
        self._ends.late(now)
        child = self._fleet.exited(replica)
        # (1) Unknown.
        if child is None:
            return
        # (2) Died while loading.
        if child.state is State.LOADING:
            child.model.load_crashes += 1
            if child.model.load_crashes >= self._policy.load_crashes:
                self._give_up_load(child.model, "its worker died while loading it", now)
        # (3) Died at work.
        idle = not child.runs
        guilty = recover(child, self._policy, self._group_ids, self._ends.give_up)
        # (4) The model's fault.
        if guilty or (idle and child.reason is None):
            self._strike(child.model, now)
        # (5) Removed or broken.
        self._ends.refuse_broken(child.model)
        if child.model.removed:
            self._ends.refuse(child.model, Code.UNKNOWN_MODEL, _REMOVED)
            self._fleet.forget_removed(child.model)
        # (6) Others, room.
        self._feed(child.model, now)
        self._advance(now)

    # Time ----------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due: deadlines, timeouts, full wait windows, aged claims to room."""
        self._ends.late(now)
        for child in tuple(self._fleet.replicas.values()):
            if child.overdue_at(self._policy) > now:
                self._feed(child.model, now)
            elif child.state is State.LOADING:
                self._fleet.kill(child, KillReason.LOAD_TIMEOUT)
                self._give_up_load(child.model, "it was not loaded in time", now)
                self._strike(child.model, now)
            else:
                self._fleet.kill(child, child.why_overdue)
        self._fleet.send_idle(now)
        self._advance(now)

    def next_wake(self, now: float) -> float | None:
        """When `tick` is due next if nothing else happens (monotonic s, >= now); None = never."""
        due = min(self._book.next_deadline(), self._fleet.next_wake(now))
        return max(now, due) if due < float("inf") else None

    def close(self) -> None:
        """Load nothing any more, whatever exits or is ordered."""
        self._fleet.close()

    # Decisions -----------------------------------------------------------------------------------

    def _feed(self, model: Model, now: float) -> None:
        """Hand groups to the model's children.

        (1) Only a ready child gets any, the one with least to do first, and at most two: one
            runs, one is prepared, late. One that is stepped gets single requests, as many as it
            has slots.
        (2) The queue says which works are next, if any are to start now; see `in_time`.
        (3) Threads: the cores shared among the children that compute, this one included; the
            others are told first.
        """
        policy = self._policy if model.spec.slots is None else self._singly
        # (1) A place.
        while child := model.next_child(policy, now):
            # (2) Works.
            works, late = model.take(child, policy, now)
            for work in late:
                self._ends.give_up(work, Code.EXPIRED, _LATE)
            if not works:
                if late:
                    continue
                return
            if not child.runs:
                child.heard = now
            # (3) Threads.
            threads = self._fleet.threads_for(child)
            group = Group(next(self._group_ids), model.spec.key, child.id, works, threads)
            child.runs[group.id] = Run(group, dict(enumerate(works)))
            model.life.ordered = False
            for index, work in enumerate(works):
                work.group, work.index = group.id, index
                work.load_ms = child.load_ms_since(work.queued_at)
            self._fleet.share_cores()
            self._effects.run(group)

    def _advance(self, now: float) -> None:
        """After whatever may have freed a child or memory."""
        self._fleet.share_cores()
        self._fleet.release_drained()
        self._arrange(now)

    def _arrange(self, now: float) -> None:
        """Load what waits for room, and answer what can never have it."""
        for model in self._fleet.arrange(now):
            self._ends.refuse(model, Code.CANNOT_BE_SERVED, too_large(model))
        self._fleet.tell(now)

    def _strike(self, model: Model, now: float) -> None:
        """It brought a child down; quarantined for that, it answers what waits."""
        if self._fleet.strike(model, now) and model.failure:
            wait_ms = model.retry_after_ms(now)
            self._ends.refuse(model, Code.MODEL_UNAVAILABLE, model.failure, wait_ms)

    def _give_up_load(self, model: Model, why: str, now: float, *, broken: bool = False) -> None:
        """Answer what waits for a model that cannot be loaded, unless it has another child."""
        self._fleet.back_off(model, why, now, broken=broken)
        self._ends.refuse_broken(model)
        if not model.stays:
            self._ends.refuse(model, Code.MODEL_UNAVAILABLE, why, model.retry_after_ms(now))
