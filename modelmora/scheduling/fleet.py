"""The children of one node: which models are in memory, which are to come, which must go."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from modelmora.errors import NotFound
from modelmora.messages import Health, State
from modelmora.scheduling.admission import too_large
from modelmora.scheduling.effects import Effects
from modelmora.scheduling.life import strike
from modelmora.scheduling.model import KillReason, ModelKey, ModelSpec, ModelStatus
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.residency import Presence, Resident, Verdict, make_room, overrun
from modelmora.scheduling.state import Model, Replica, ewma, resident
from modelmora.text import counted


class Fleet:
    """Models and replicas; loads and ends children, and keeps the ledger of memory.

    The scheduler's own part, with no life outside it. A replica's bytes count from the moment its
    load is ordered until its exit is reported, so a load never starts on memory that is not back.
    """

    def __init__(self, effects: Effects, policy: Policy) -> None:
        self.models: dict[ModelKey, Model] = {}
        self.replicas: dict[int, Replica] = {}
        self._claims: dict[ModelKey, Model] = {}
        self._touched: dict[ModelKey, Model] = {}
        self._effects = effects
        self._policy = policy
        self._ids = count(1)

    # Models --------------------------------------------------------------------------------------

    def add(self, spec: ModelSpec) -> None:
        """Know this model; a new specification replaces the old one and its child."""
        model = self.models.get(spec.key)
        new = model is None or model.removed
        if model is None:
            model = self.models[spec.key] = Model(spec)
            model.judge_files()
        before, model.spec, model.removed = model.spec, spec, False
        if before != spec:
            model.judge_files()
            self.dismiss(model, KillReason.CHANGED)
        if new and spec.preload:
            self.want(model, insists=True)
        self.pin(model, spec.pinned)
        self.touch(model)

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

    def want(self, model: Model, *, insists: bool = False) -> None:
        """Have the model loaded although nothing waits for it, unless its files are broken.

        `insists`: again and again, after each pause, where it fails.
        """
        model.life.insists |= insists
        if model.spec.fault:
            return
        model.life.pardon()
        model.retry_at = float("-inf")
        if not model.stays:
            model.wanted = True
            self.claim(model)

    def pin(self, model: Model, pinned: bool) -> None:
        """Keep the model in memory at all times, or no longer."""
        if pinned and not model.pinned:
            self.want(model, insists=True)
        model.pinned = pinned

    def touch(self, model: Model) -> None:
        """It may stand elsewhere now."""
        self._touched[model.spec.key] = model

    def tell(self, now: float) -> None:
        """Tell of the models that stand elsewhere than they were last told to."""
        touched, self._touched = self._touched, {}
        for key, model in touched.items():
            was, health = model.life.told, model.health(now)
            failed = health.state in (State.FAILED, State.QUARANTINED)
            if health.state is not was.state or (failed and health.reason != was.reason):
                model.life.told = health
                self._effects.turned(key, was, health)

    def claim(self, model: Model) -> None:
        """Look at this model when room is given out; it has no child, or soon none."""
        self._claims[model.spec.key] = model

    def fits(self, model: Model, now: float) -> bool:
        """Whether the budget could hold the model if it were alone with the pinned ones."""
        if model.replicas:
            return True
        pinned = [one for one in self.residents(now) if one.presence is Presence.PINNED]
        plan = make_room(model.need, self._policy.budget_bytes, pinned)
        return plan.verdict is not Verdict.NEVER

    def hopeless(self, model: Model, now: float) -> str | None:
        """Why no request may wait for it: its files are broken, or memory can never hold it."""
        if model.broken:
            return f"{model.spec.name}@{model.spec.version} cannot be loaded: {model.failure}"
        return None if self.fits(model, now) else too_large(model)

    def status(self, model: Model, now: float) -> ModelStatus:
        """The model as people see it; one that memory can never hold has failed."""
        status = model.status(now, self._policy)
        if model.replicas or self.fits(model, now):
            return status
        return replace(status, health=Health(State.FAILED, too_large(model)))

    # Children ------------------------------------------------------------------------------------

    def loaded(self, child: Replica, load_ms: float, now: float) -> None:
        """The child is ready."""
        child.state = State.READY
        child.ready_at = child.heard = child.model.used_at = now
        child.load_ms = load_ms
        child.model.load_ms = ewma(child.model.load_ms, load_ms)
        child.model.failures = child.model.load_crashes = 0
        child.model.failure, child.model.retry_at = None, float("-inf")
        child.model.life.quarantined = False
        child.model.wanted = child.model.life.insists = False
        self.touch(child.model)

    def measure(self, child: Replica, private_bytes: int) -> None:
        """Learn what the model really takes: the most that was seen."""
        if private_bytes > 0:
            child.model.measured_bytes = max(child.model.measured_bytes, private_bytes)
            child.bytes = child.model.measured_bytes

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
        if not child.model.spec.needs_cores:
            return 1
        others = sum(
            1
            for other in self.replicas.values()
            if other is not child and other.runs and other.model.spec.needs_cores
        )
        return max(1, self._policy.cores // (others + 1))

    # Room ----------------------------------------------------------------------------------------

    def residents(self, now: float) -> list[Resident]:
        """Everything in memory, as `residency` sees it."""
        return [resident(child, self._policy, now) for child in self.replicas.values()]

    def arrange(self, now: float) -> list[Model]:
        """Load models, or make room for them; the result can never be loaded.

        (1) Idle models leave if what is loaded has grown beyond the budget.
        (2) The claims, most urgent first: aged heads, then lane and arrival.
        (3) Each by the verdict of `make_room`: loaded now; or others are sent away and the room
            is reserved, so that no later claim takes it; or it has to wait; or never.
        """
        # (1) Grown beyond the budget.
        budget = self._policy.budget_bytes
        if sum(child.bytes for child in self.replicas.values()) > budget:
            self._send_away(overrun(budget, self.residents(now)))
        # (2) The claims in their order.
        if not self._claims:
            return []
        self._claims = {key: model for key, model in self._claims.items() if model.claims}
        claims = [model for model in self._claims.values() if model.retry_at <= now]
        claims.sort(key=lambda model: model.queue.urgency(self._policy, now))
        # (3) A verdict for each.
        reserved = 0
        hopeless: list[Model] = []
        for model in claims:
            aged = model.queue.aged_at(self._policy) <= now
            residents = self.residents(now)
            plan = make_room(model.need, budget, residents, reserved=reserved, aged=aged)
            if plan.verdict is Verdict.NOW:
                self._load(model, now)
            elif plan.verdict is Verdict.SOON:
                self._send_away(plan.leave)
                reserved += model.need
            elif plan.verdict is Verdict.NEVER:
                model.wanted = False
                hopeless.append(model)
        return hopeless

    def next_wake(self, now: float) -> float:
        """When a child is overdue, a group may leave, or a claim has aged; infinity = never."""
        due = [float("inf")]
        for child in self.replicas.values():
            due += (child.overdue_at(self._policy), child.model.leaves_at(self._policy))
            if child.has_place(self._policy):
                due.append(child.model.queue.next_group_at(self._policy, now))
        if self._claims:
            later = [model.queue.aged_at(self._policy) for model in self._claims.values()]
            later += [model.retry_at for model in self._claims.values()]
            later += [
                child.ready_at + self._policy.min_residency_s for child in self.replicas.values()
            ]
            due += [at for at in later if at > now]
        return min(due)

    def _load(self, model: Model, now: float) -> None:
        child = Replica(next(self._ids), model, heard=now, bytes=model.need)
        self.replicas[child.id] = child
        model.replicas[child.id] = child
        model.life.ordered = model.wanted or model.pinned
        self.touch(model)
        self._effects.load(child.id, model.spec)

    def _send_away(self, replicas: tuple[int, ...]) -> None:
        for replica in replicas:
            self._send_off(self.replicas[replica], KillReason.ROOM)
        self.release_drained()
