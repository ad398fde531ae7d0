"""The children of one node: which models are in memory, which are to come, which must go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from modelmora.errors import NotFound
from modelmora.messages import Health, State
from modelmora.scheduling.admission import too_large, unloadable
from modelmora.scheduling.device import Need, most_of
from modelmora.scheduling.effects import Effects
from modelmora.scheduling.ledger import Ledger, Reserved
from modelmora.scheduling.life import strike
from modelmora.scheduling.line.turns import Given
from modelmora.scheduling.model import KillReason, ModelKey, ModelSpec, ModelStatus
from modelmora.scheduling.placement import Cause, Option, Placement
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.residency import Verdict
from modelmora.scheduling.scaling import rescale
from modelmora.scheduling.state import Model, Replica, Run, ewma
from modelmora.text import counted

_LOAD_MS = 1000.0
"""What a load is taken to cost while none was measured."""


class Fleet:
    """Models and replicas; loads and ends children, and keeps the ledger of memory.

    The scheduler's own part, with no life outside it.
    """

    def __init__(self, effects: Effects, policy: Policy) -> None:
        self.models: dict[ModelKey, Model] = {}
        self.replicas: dict[int, Replica] = {}
        self._claims: dict[ModelKey, Model] = {}
        self._given = Given()
        self._touched: dict[ModelKey, Model] = {}
        self._elastic: dict[ModelKey, Model] = {}
        self._effects = effects
        self._policy = policy
        self._ledger = Ledger(self.replicas, policy)
        self._ids = count(1)
        self.closed = False

    # Models --------------------------------------------------------------------------------------

    def add(self, spec: ModelSpec) -> None:
        """Know this model; a new specification replaces the old one and its child."""
        model = self.models.get(spec.key)
        new = model is None or model.removed
        if model is None:
            model = self.models[spec.key] = Model(spec)
            self._judge_files(model)
        before, model.spec, model.removed = model.spec, spec, False
        if before != spec:
            self._judge_files(model)
            self.dismiss(model, KillReason.CHANGED)
        if new and spec.preload:
            self.want(model, insists=True)
        if spec.pinned and not model.pinned:
            self.want(model, insists=True)
        if model.pinned and not (spec.pinned or spec.preload):
            model.life.insists = model.wanted = False
        model.pinned = spec.pinned
        self.touch(model)
        self._elastic.pop(spec.key, None)
        if spec.max_replicas > 1:
            self._elastic[spec.key] = model

    def _judge_files(self, model: Model) -> None:
        """Begin with what its specification says; what was measured before alone forbids no load.

        It may have been an outlier, or the budget another: then it is measured anew.
        """
        model.judge_files()
        for kind in [*model.learned]:
            if not self._ledger.could_hold(model, kind):
                del model.learned[kind]

    def known(self, key: ModelKey) -> Model:
        """The model of that name and version. Raises NotFound."""
        model = self.models.get(key)
        if model is None or model.removed:
            raise NotFound(f"{key[0]}@{key[1]} is not served here; see `modelmora list`")
        return model

    def remove(self, model: Model) -> None:
        """Serve this model no more; it is forgotten once its child has left."""
        model.removed, model.pinned = True, False
        self.dismiss(model, KillReason.REMOVED)
        self.forget_removed(model)

    def forget_removed(self, model: Model) -> None:
        """Forget the model if it was removed and has no child."""
        if model.removed and not model.replicas:
            del self.models[model.spec.key]
            self._elastic.pop(model.spec.key, None)

    def want(self, model: Model, *, insists: bool = False) -> None:
        """Have the model loaded although nothing waits for it, unless its files are broken.

        `insists`: again and again, after each pause, where it fails.
        """
        model.life.insists |= insists
        if model.spec.fault:
            return
        model.life.pardon()
        model.failure, model.retry_at = None, float("-inf")
        self.touch(model)
        if not model.stays:
            model.wanted = True
            self.claim(model)

    def touch(self, model: Model) -> None:
        """It may stand elsewhere now."""
        self._touched[model.spec.key] = model

    def tell(self, now: float) -> None:
        """Tell of the models that stand elsewhere than they were last told to."""
        touched, self._touched = self._touched, {}
        for key, model in touched.items():
            was, health = model.life.told, self.health(model, now)
            failed = health.state in (State.FAILED, State.QUARANTINED)
            if health.state is not was.state or (failed and health.reason != was.reason):
                model.life.told = health
                self._effects.turned(key, was, health)

    def comers(self, now: float) -> list[Model]:
        """The models that wait to be loaded, the most urgent first."""
        claims = [one for one in self._claims.values() if one.claims and one.retry_at <= now]
        return sorted(claims, key=lambda model: self._urgency(model, now))

    def _urgency(self, model: Model, now: float) -> tuple[float, ...]:
        """That of its queue; in one lane, those for whom more than their share was loaded last."""
        what, at, number, order = model.queue.urgency(self._policy, now)
        return what, at, self._given.ahead(self._asker(model, now)), number, order

    def _asker(self, model: Model, now: float) -> str:
        head = model.queue.head(self._policy, now)
        return head.principal if head else ""

    def place(self, model: Model, now: float) -> Option:
        """Where the next replica of the model would go."""
        return self._ledger.place(model, now)

    def claim(self, model: Model) -> None:
        """Look at this model when room is given out; it has no child, or soon none."""
        self._claims[model.spec.key] = model

    def hopeless(self, model: Model) -> str | None:
        """Why no request may wait for it: its files are broken, or memory can never hold it."""
        return unloadable(model) or (None if self._ledger.fits(model) else too_large(model))

    def health(self, model: Model, now: float) -> Health:
        """How the model is; one that memory can never hold has failed."""
        if self._ledger.fits(model):
            return model.health(now)
        return Health(State.FAILED, too_large(model))

    def status(self, model: Model, now: float) -> ModelStatus:
        """The model as people see it."""
        return replace(model.status(now, self._policy), health=self.health(model, now))

    # Children ------------------------------------------------------------------------------------

    def loaded(self, child: Replica, load_ms: float, now: float) -> None:
        """The child is ready."""
        child.state = State.READY
        child.ready_at = child.heard = now
        child.load_ms = load_ms
        child.model.load_ms = ewma(child.model.load_ms, load_ms)
        child.model.failures = child.model.load_crashes = 0
        child.model.failure, child.model.retry_at = None, float("-inf")
        child.model.life.quarantined = False
        child.model.wanted = child.model.life.insists = False
        self.touch(child.model)

    def measure(
        self, child: Replica, held: Need, cost: int | None = 0, safe_cost: int | None = None
    ) -> None:
        """Learn what the model really takes: the most that was seen with batches it can run.

        The child itself may hold more, until it leaves. Nothing is learned of what one of former
        files or options holds, nor without a cost.
        """
        if child.mark != child.model.spec.mark:
            child.need = Need(held.ram or child.need.ram, held.gpu or child.need.gpu)
            return
        kind = child.device.kind
        learned = child.model.learn(kind)
        if safe_cost:
            learned.limit(safe_cost)
        if held.ram > 0 and cost is not None:
            learned.see(held, cost)
            learned.keep_within(self._ledger.most)
        child.need = most_of((child.model.need(kind), held))

    def dismiss(self, model: Model, reason: KillReason) -> None:
        """Let all children of the model leave."""
        model.wanted = model.life.ordered = model.life.insists = False
        for child in model.replicas.values():
            self._send_off(child, reason)

    def _send_off(self, child: Replica, reason: KillReason) -> None:
        """Let a child leave.

        (1) It is leaving, or about to: nothing.
        (2) It is loading: killed.
        (3) It drains: what it has started is finished, then it is killed; at once if idle.
        """
        self.touch(child.model)
        # (2) Loading.
        if child.state is State.LOADING:
            self.kill(child, reason)
        # (3) Drain; `release_drained` ends it.
        elif child.state is State.READY:
            child.state = State.DRAINING
            child.reason = reason

    def kill(self, child: Replica, reason: KillReason) -> None:
        """End the child now; it is gone when its exit is reported."""
        if child.state is not State.LEAVING:
            child.state = State.LEAVING
            child.reason = reason
            self.touch(child.model)
            self._effects.kill(child.id, reason)

    def release_drained(self) -> None:
        """Kill the draining children that have nothing left to do."""
        for child in self.replicas.values():
            if child.state is State.DRAINING and not child.runs:
                self.kill(child, child.reason or KillReason.UNLOAD)

    def exited(self, replica: int) -> Replica | None:
        """The child is gone and its memory is back; None if it is not known."""
        child = self.replicas.pop(replica, None)
        if child is None:
            return None
        del child.model.replicas[replica]
        self.touch(child.model)
        self.claim(child.model)
        return child

    def run_of(self, replica: int, group: int) -> tuple[Replica | None, Run | None]:
        """The child and the group that it works on; None for what is not known."""
        child = self.replicas.get(replica)
        return child, child.runs.get(group) if child else None

    def back_off(self, model: Model, why: str, now: float, *, broken: bool) -> None:
        """A load failed: the next may be tried after a pause that doubles, or with other files."""
        model.failures += 1
        model.load_crashes = 0
        pause = float("inf") if broken else self._policy.backoff(model.failures)
        self._fail(model, why, now + pause)

    def strike(self, model: Model, now: float) -> bool:
        """It brought a child down; True where it is quarantined for that: its children leave."""
        pause = strike(model.life, self._policy, now)
        if pause is None:
            return False
        model.load_crashes = 0
        died = counted(len(model.life.strikes), "time")
        self._fail(model, f"its worker died {died} with no answer in between", now + pause)
        for child in model.replicas.values():
            self._send_off(child, KillReason.QUARANTINED)
        return True

    def _fail(self, model: Model, why: str, retry_at: float) -> None:
        model.wanted = model.life.insists
        model.failure, model.retry_at = why, retry_at
        self.touch(model)
        self.claim(model)

    def send_idle(self, now: float) -> None:
        """Let go of the models that have had nothing to do for as long as they may be kept."""
        for child in self.replicas.values():
            if child.model.leaves_at(self._policy) <= now:
                self.dismiss(child.model, KillReason.IDLE)

    def threads_for(self, child: Replica) -> int:
        """CPU threads for the next group: an equal share among the children that compute."""
        if child.model.spec.needs_cores:
            others = sum(one.computes for one in self.replicas.values() if one is not child)
            child.threads = self._share(others + 1)
        return child.threads

    def share_cores(self) -> None:
        """Tell those children that compute of their share whose share is another now."""
        computing = [child for child in self.replicas.values() if child.computes]
        share = self._share(len(computing))
        for child in computing:
            if child.threads != share:
                child.threads = share
                self._effects.threads(child.id, share)

    def _share(self, children: int) -> int:
        return max(1, self._policy.cores // max(children, 1))

    # Room ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Load nothing any more."""
        self.closed = True

    def arrange(self, now: float) -> list[Model]:
        """Load models, or make room for them; the result can never be loaded.

        (1) Idle models leave if what is loaded has grown beyond the budget of a device.
        (2) Unless nothing is loaded any more, the claims, most urgent first: aged heads, then lane,
            then for whom too much was loaded already, then how much waits.
        (3) Each gets the best device for it, and goes by the verdict there: loaded now; or others
            are sent away and the room is reserved, so that no later claim takes it; or it has to
            wait; or never.
        (4) Then replicas more or less of models that have some, see `scaling.rescale`; for one more
            only idle ones leave.
        """
        # (1) Grown beyond the budget.
        self._send_away(self._ledger.overrun(now))
        # (2) The claims in their order.
        if self.closed or not (self._claims or self._elastic):
            return []
        self._claims = {key: model for key, model in self._claims.items() if model.claims}
        if not self._claims:
            self._given = Given()
        # (3) A verdict for each.
        reserved = Reserved()
        hopeless: list[Model] = []
        for model in self.comers(now):
            aged = model.queue.aged_at(self._policy) <= now
            option = self._ledger.place(model, now, reserved, aged=aged)
            if option.plan.verdict is Verdict.NEVER:
                model.wanted = False
                self.touch(model)
                hopeless.append(model)
            else:
                cause = Cause.REQUESTS if len(model.queue) else Cause.ORDER
                self._pursue(model, option, cause, reserved, now)
        # (4) More or less of what is loaded.
        for model in self._elastic.values():
            self._rescale(model, reserved, now)
        return hopeless

    def _rescale(self, model: Model, reserved: Reserved, now: float) -> None:
        why = rescale(model.pressure(now), model.spec, self._policy)
        if isinstance(why, Cause) and now >= model.retry_at:
            self._pursue(model, self._ledger.place(model, now, reserved), why, reserved, now)
        elif isinstance(why, KillReason) and model.spare:
            self.kill(model.spare, why)

    def _pursue(
        self, model: Model, option: Option, cause: Cause, reserved: Reserved, now: float
    ) -> None:
        """Load the model there if there is room, or have room made and keep it for the model."""
        if option.plan.verdict is Verdict.NOW:
            if cause is Cause.REQUESTS and not model.replicas:
                askers = {self._asker(one, now) for one in self._claims.values()}
                self._given.give(self._asker(model, now), model.load_ms or _LOAD_MS, askers)
            self.load(model, option, cause, now)
        elif option.plan.verdict is Verdict.SOON:
            self._send_away(option.plan.leave)
            self._ledger.reserve(reserved, option)

    def next_wake(self, now: float) -> float:
        """When a child is overdue, a group may leave, or a claim has aged; infinity = never."""
        due = [float("inf")]
        for child in self.replicas.values():
            due += (child.overdue_at(self._policy), child.model.leaves_at(self._policy))
            if child.takes_next(self._policy, now):
                due.append(child.model.queue.next_group_at(self._policy, now))
        if self._claims:
            later = [model.queue.aged_at(self._policy) for model in self._claims.values()]
            later += [model.retry_at for model in self._claims.values()]
            later += [child.fresh_until(self._policy) for child in self.replicas.values()]
            due += [at for at in later if at > now]
        for model in self._elastic.values():
            later = [model.queue.oldest_at() + model.pressure(now).worth_s(self._policy)]
            if model.spare:
                later.append(model.spare.heard + self._policy.spare_s)
            due += [at for at in later if at > now]
        return min(due)

    def load(self, model: Model, option: Option, cause: Cause, now: float) -> None:
        """Load the model there, where there is room."""
        device = model.was_on = option.device
        mark = model.spec.mark
        child = Replica(next(self._ids), model, device, option.need, heard=now, mark=mark)
        self.replicas[child.id] = child
        model.replicas[child.id] = child
        model.life.ordered |= cause is Cause.ORDER
        self.touch(model)
        safe_cost = model.learn(device.kind).safe_cost
        self._effects.load(child.id, model.spec, Placement(device, option.need, cause, safe_cost))

    def _send_away(self, replicas: Iterable[int]) -> None:
        for replica in replicas:
            self._send_off(self.replicas[replica], KillReason.ROOM)
        self.release_drained()
