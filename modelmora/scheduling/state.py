"""What the scheduler knows: its models, their child processes, the groups these hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from modelmora.messages import DeviceKind, Health, State
from modelmora.records.measured import Measured
from modelmora.scheduling.device import Device, Learned, Need
from modelmora.scheduling.expected import Runs
from modelmora.scheduling.life import Life, stays_until
from modelmora.scheduling.line.queue import ModelQueue
from modelmora.scheduling.line.work import Group, Work
from modelmora.scheduling.model import KillReason, ModelSpec, ModelStatus, ReplicaStatus
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.residency import Presence, Resident
from modelmora.scheduling.scaling import Pressure
from modelmora.scheduling.timely import in_time

_EWMA_WEIGHT = 0.2
_MOMENT_S = 1e-3
_STAYING = (State.READY, State.LOADING)
_DEPARTING = (State.DRAINING, State.LEAVING)
_USEFUL = (*_STAYING, *_DEPARTING)


def ewma(mean: float | None, value: float) -> float:
    """Exponentially weighted mean (Roberts 1959), weight 0.2; the first value is the mean."""
    return value if mean is None else mean + _EWMA_WEIGHT * (value - mean)


@dataclass(slots=True, eq=False)
class Run:
    """A group in a child, and those of its works that still need an answer, by index."""

    group: Group
    open: dict[int, Work]
    began: float | None = None
    """When its child said that it works on it (monotonic s)."""
    taken: set[int] = field(default_factory=set)
    """Those of its works that were taken from it before they had an answer, by index."""


@dataclass(slots=True, eq=False)
class Replica:
    """One child process of a model; `heard` is when it last began or answered something.

    `need` is what is reserved for it, on its device and in RAM.
    """

    id: int
    model: Model
    device: Device
    need: Need
    heard: float
    state: State = State.LOADING
    runs: dict[int, Run] = field(default_factory=dict)
    reason: KillReason | None = None
    """Why it was killed; None if it was not."""
    threads: int = 1
    """The CPU threads that it was told of last."""
    ready_at: float = float("inf")
    load_ms: float = 0.0
    mark: str = ""
    """What it runs, as `ModelSpec.mark` says; that of its model may be another by now."""

    @property
    def unanswered(self) -> int:
        """How many works it has that still need an answer."""
        return sum(len(run.open) for run in self.runs.values())

    def has_place(self, policy: Policy) -> bool:
        """It may be given a group.

        (1) Only a ready child, and never more than `groups_per_replica`, or its slots.
        (2) One that has nothing to do, or steps all it has at once: yes.
        (3) One that runs a group: when that will soon be done, or its model was never measured.
            What comes until then can still overtake, or join the next group.
        """
        slots = self.model.spec.slots
        # (1) Ready, not full.
        if self.state is not State.READY or len(self.runs) >= (slots or policy.groups_per_replica):
            return False
        # (2) Idle, or stepped.
        if not self.runs or self.model.run_ms is None or slots:
            return True
        # (3) Soon done.
        return self.unanswered * self.model.run_ms <= policy.prepare_ahead_s * 1000

    def takes_next(self, policy: Policy, now: float) -> bool:
        """It has a place, and what is next in its queue may run beside what it runs.

        Only a stepped child runs several at once: those of one cohort, and none beside those that
        it should have let go of by now, for it may hang.
        """
        if not self.has_place(policy):
            return False
        if not self.model.spec.slots or self.front is None:
            return True
        if not self.runs_for_somebody:
            return False
        cohort = self.front.group.works[0].cohort
        head = self.model.queue.head(policy, now)
        return head is None or head.cohort == cohort

    @property
    def front(self) -> Run | None:
        """The group it works on: children work in order, unless they are stepped."""
        return next(iter(self.runs.values()), None)

    def status(self) -> ReplicaStatus:
        """The child as people see it."""
        device, need = self.device.label, self.need
        return ReplicaStatus(self.id, self.state, device, need.ram, need.gpu, self.unanswered)

    def holds(self, memory: Device) -> int:
        """Bytes of this memory that are reserved for it."""
        return memory.bytes_of(self.need, self.device)

    @property
    def under_way(self) -> list[Run]:
        """The groups it works on: its front, or all of them where it is stepped."""
        runs = [*self.runs.values()]
        return runs if self.model.spec.slots else runs[:1]

    @property
    def computes(self) -> bool:
        """Whether it has a share of the cores: it has something to run, on CPU threads."""
        return bool(self.runs) and self.model.spec.needs_cores

    @property
    def runs_for_somebody(self) -> bool:
        """Whether anything it works on still needs an answer."""
        return any(run.open for run in self.under_way)

    @property
    def why_overdue(self) -> KillReason:
        """Why it is killed where it runs for too long."""
        return KillReason.RUN_TIMEOUT if self.runs_for_somebody else KillReason.NOBODY_WAITS

    def load_ms_since(self, queued_at: float) -> float:
        """How much of the load a work queued at this time (monotonic s) has waited for."""
        return max(0.0, min(self.load_ms, (self.ready_at - queued_at) * 1000))

    def fresh_until(self, policy: Policy) -> float:
        """Until when (monotonic s) it is safe from a model that has not aged, idle or not."""
        share_s = policy.residency_share * self.load_ms / 1000
        return self.ready_at + max(policy.min_residency_s, share_s)

    def overdue_at(self, policy: Policy) -> float:
        """When (monotonic s) it is killed for silence; infinity while it owes nothing.

        (1) It loads: after `load_s`.
        (2) It has nothing to do, or is killed already: never.
        (3) Nobody waits for what it runs any more: after `cancel_grace_s`.
        (4) It runs: `start_to_close_s` after it last began or answered something.
        """
        # (1) Loads.
        if self.state is State.LOADING:
            return self.heard + policy.load_s
        # (2) Owes nothing.
        if not self.runs or self.state is State.LEAVING:
            return float("inf")
        # (3) Runs for nobody.
        if not self.runs_for_somebody:
            return self.heard + min(policy.cancel_grace_s, policy.start_to_close_s)
        # (4) Runs.
        return self.heard + policy.start_to_close_s


@dataclass(slots=True, eq=False)
class Model:
    """One model: what waits for it, its children by id, and what it was measured to cost."""

    spec: ModelSpec
    queue: ModelQueue = field(default_factory=ModelQueue)
    replicas: dict[int, Replica] = field(default_factory=dict)
    wanted: bool = False
    """To be loaded although nothing waits."""
    pinned: bool = False
    removed: bool = False
    learned: dict[DeviceKind, Learned] = field(default_factory=dict)
    was_on: Device | None = None
    """The device of its last child."""
    runs: Runs = field(default_factory=Runs)
    """How long its works take."""
    load_ms: float | None = None
    visited_at: float | None = None
    """When it was asked for last; what comes within a load of that belongs to the same visit."""
    gap_s: float | None = None
    """Mean time from visit to visit."""
    load_crashes: int = 0
    """Children that died while loading, in a row."""
    failures: int = 0
    """Failed loads in a row."""
    failure: str | None = None
    """Why it cannot be loaded, or could not be the last time."""
    retry_at: float = float("-inf")
    """From when on a load may be tried; infinity: not before its files have changed."""
    life: Life = field(default_factory=Life)

    @property
    def run_ms(self) -> float | None:
        """How long a work takes, whatever its shape."""
        return self.runs.of(None)

    def take(
        self, child: Replica, policy: Policy, now: float
    ) -> tuple[tuple[Work, ...], tuple[Work, ...]]:
        """The child's next group, and what was taken with it but would be late and is not begun."""
        begins_s = 0.0 if self.spec.slots else child.unanswered * (self.run_ms or 0.0) / 1000
        works, late = in_time(self.queue.take(policy, now), self.runs, now, begins_s)
        if late:
            self.queue.settle(late, 0.0)
        return works, late

    def ran(self, run: Run, run_ms: float) -> None:
        """A child was done with that in so long; what was taken from it took none of it."""
        works = run.group.works
        shapes = [work.shape for index, work in enumerate(works) if index not in run.taken]
        if shapes:
            self.runs.learn(shapes, run_ms)
        self.queue.settle(works, run_ms)

    def asked(self, work: Work, now: float) -> None:
        """A request for it has come; who asks for a copy of one changes nothing."""
        if work.behind:
            return
        self.life.behind, self.life.keep_alive_s = False, work.keep_alive_s
        if self.visited_at is None:
            self.visited_at = now
        elif (gap_s := now - self.visited_at) * 1000 >= (self.load_ms or 0.0):
            self.visited_at, self.gap_s = now, ewma(self.gap_s, gap_s)

    def worth(self, child: Replica, now: float) -> float:
        """Seconds of loading that each second saves for which this child stays idle.

        (1) Another child of the model serves, and is older: nothing.
        (2) What its load took, by the time from visit to visit: the mean, or that since it last
            had anything to do, where this is longer.
        """
        # (1) Another.
        ready = (one for one in self.replicas.values() if one.state is State.READY)
        if next(ready, child) is not child:
            return 0.0
        # (2) Loading saved.
        return child.load_ms / 1000 / max(self.gap_s or 0.0, now - child.heard, _MOMENT_S)

    @property
    def spare(self) -> Replica | None:
        """The ready child that has had nothing to do for longest; the younger of two."""
        idle = [one for one in self.replicas.values() if one.state is State.READY and not one.runs]
        return min(reversed(idle), key=lambda child: child.heard, default=None)

    def pressure(self, now: float) -> Pressure:
        """The model as `scaling` sees it."""
        ready = [one for one in self.replicas.values() if one.state is State.READY]
        coming = sum(one.state is State.LOADING for one in self.replicas.values())
        if self.run_ms is None:
            wait_s = now - self.queue.oldest_at()
        else:
            wait_s = len(self.queue) * self.run_ms / 1000 / max(len(ready), 1)
        spare_s = now - self.spare.heard if self.spare else 0.0
        computing = sum(bool(one.runs) for one in ready)
        load_s = (self.load_ms or 0.0) / 1000
        return Pressure(len(ready), coming, computing, wait_s, spare_s, load_s)

    def need(self, kind: DeviceKind) -> Need:
        """What to reserve on such a device: the most that was measured, else the estimate."""
        learned = self.learned.get(kind)
        seen, guessed = learned.need if learned else Need(0), self.spec.estimated(kind)
        return Need(seen.ram or guessed.ram, seen.gpu or guessed.gpu)

    def learn(self, kind: DeviceKind) -> Learned:
        """What its children were seen to take on such a device, to be added to."""
        return self.learned.setdefault(kind, Learned())

    @property
    def measured(self) -> Measured | None:
        """What was learned, to be told; None where nothing was."""
        devices = {kind: one.taken for kind, one in self.learned.items() if one.peaks}
        return Measured(self.spec.mark, devices, self.load_ms) if devices else None

    @property
    def claims(self) -> bool:
        """It should be loaded and is not."""
        return not self.replicas and (self.wanted or self.pinned or len(self.queue) > 0)

    @property
    def state(self) -> State:
        """Where the model stands: as its most useful child does, unless it cannot be served."""
        if self.failure and not self.stays:
            return State.QUARANTINED if self.life.quarantined else State.FAILED
        if self.replicas:
            return min((child.state for child in self.replicas.values()), key=_USEFUL.index)
        return State.COLD

    def health(self, now: float) -> Health:
        """That, and why it cannot be served."""
        if self.failure is None or self.stays:
            return Health(self.state)
        return Health(self.state, self.failure, self.retry_after_ms(now))

    @property
    def idle_since(self) -> float | None:
        """Since when (monotonic s) it has had nothing to do; None where it has, or is not there."""
        children = self.replicas.values()
        if not children or len(self.queue) or any(child.runs for child in children):
            return None
        return max(child.heard for child in children)

    def leaves_at(self, policy: Policy) -> float:
        """When (monotonic s) it leaves though nobody needs the room; infinity where it stays."""
        # Asked of all that are loaded, after each event: what costs least, and often is so, first.
        keep_s = stays_until(self.life, self.spec.keep_alive_s, policy, 0.0, pinned=self.pinned)
        if keep_s == float("inf") or self.state is not State.READY:
            return float("inf")
        since = self.idle_since
        return float("inf") if since is None else since + keep_s

    @property
    def stays(self) -> bool:
        """It has a child that is neither leaving nor about to."""
        return any(child.state in _STAYING for child in self.replicas.values())

    def next_child(self, policy: Policy, now: float) -> Replica | None:
        """Which child gets the next group: of those that may, the one with least to do."""
        least: Replica | None = None
        for child in self.replicas.values():
            if child.takes_next(policy, now):
                least = child if least is None or child.unanswered < least.unanswered else least
        return least

    @property
    def broken(self) -> bool:
        """No load is tried before its files have changed."""
        return self.retry_at == float("inf")

    def retry_after_ms(self, now: float) -> int | None:
        """Milliseconds until a load may be tried again, rounded up; None where it is broken."""
        return None if self.broken else ceil(max(0.0, self.retry_at - now) * 1000)

    def judge_files(self) -> None:
        """Start anew from what the specification says of the model's files."""
        self.failures = self.load_crashes = 0
        known = self.spec.known or Measured(self.spec.mark, {})
        self.learned = {kind: Learned.of(one) for kind, one in known.devices.items()}
        self.load_ms = known.load_ms or self.load_ms
        self.failure = self.spec.fault
        self.life.pardon()
        self.retry_at = float("inf") if self.failure else float("-inf")

    def started(self) -> int:
        """How many of its works are in its children without an answer."""
        return sum(child.unanswered for child in self.replicas.values())

    def status(self, now: float, policy: Policy) -> ModelStatus:
        """The model as people see it."""
        since, leaves_at = self.idle_since, self.leaves_at(policy)
        return ModelStatus(
            self.spec.key,
            self.health(now),
            len(self.queue),
            self.started(),
            tuple(child.status() for child in self.replicas.values()),
            None if since is None else max(0.0, now - since),
            None if leaves_at == float("inf") else max(0.0, leaves_at - now),
            self.pinned,
        )


def pins(replica: Replica) -> bool:
    """Whether it stays by order, and is not about to leave."""
    return replica.model.pinned and replica.state not in _DEPARTING


def resident(replica: Replica, memory: Device, policy: Policy, now: float) -> Resident:
    """The replica as `residency` sees it in this memory.

    (1) Draining or killed: departing. (2) Pinned. (3) For copies alone: idle, worth nothing.
    (4) Loading. (5) With work: busy. (6) Within its minimum residency: fresh. (7) Idle.
    """
    model = replica.model
    if replica.state in _DEPARTING:
        presence = Presence.DEPARTING
    elif pins(replica):
        presence = Presence.PINNED
    elif model.life.behind:
        return Resident(replica.id, replica.holds(memory), replica.heard, Presence.IDLE)
    elif replica.state is State.LOADING:
        presence = Presence.LOADING
    elif replica.runs or len(model.queue):
        presence = Presence.BUSY
    elif now < replica.fresh_until(policy):
        presence = Presence.FRESH
    else:
        presence = Presence.IDLE
    worth = model.worth(replica, now)
    return Resident(replica.id, replica.holds(memory), replica.heard, presence, worth)
