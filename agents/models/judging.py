"""Who judges canaries: looks at their outcomes, decides, and has the routes follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from modelmora.agents.lifecycle import Lifecycle, Sender
from modelmora.agents.models.agreeing import Agreements
from modelmora.agents.models.orders import is_ours
from modelmora.agents.models.outcomes import Outcomes
from modelmora.audit.auditor import Tell
from modelmora.errors import ModelMoraError
from modelmora.kafka.leases import Leases
from modelmora.kafka.topics import Topic
from modelmora.messages import RegistryRecord, State
from modelmora.records import Registry
from modelmora.records.audited import model_of, reason_of
from modelmora.records.canaries import Canary, Standing, canaries_of
from modelmora.records.registrar import Registrar
from modelmora.records.stepping import Whose, ended, route_wanted, stepped, whose_route
from modelmora.routing.canary import Decision, Seen, Verdict, decide
from modelmora.routing.sampling import Sampling
from modelmora.settings.canaries import WHOLE

log = structlog.get_logger(__name__)
LOOK_S = 1.0
NOTE_S = 10.0
"""How often it is told what was seen, where nothing follows from it yet."""
MOST_PAST_MS = 3_600_000
"""So far back at most, which is as long as `results` are kept."""
_HOPELESS = frozenset({State.FAILED, State.QUARANTINED})


class Judge:
    """Judges the canaries of names that are this node's to judge, by the leases.

    Whoever else judges one too does no harm: of two that write at once the registry takes one. All
    that it knows is on the topics, so another goes on where it died.
    """

    def __init__(
        self,
        node: str,
        namespace: str,
        state: Registry,
        leases: Leases,
        outcomes: Outcomes,
        agreements: Agreements,
        sender: Sender,
        lifecycle: Lifecycle,
        audit: Tell,
        now_ms: Callable[[], float],
    ) -> None:
        """`now_ms` is the broker's time (Unix ms)."""

        def audited(verb: str, record: RegistryRecord) -> None:
            audit(verb, node, model=model_of(record), reason=reason_of(record))

        self._node = node
        self._state = state
        self._leases = leases
        self._outcomes = outcomes
        self._agreements = agreements
        self._now_ms = now_ms
        self._noted: dict[str, tuple[float, Decision]] = {}
        """Of each canary when it was last told what was seen, and what that was."""
        topic = Topic.REGISTRY.full(namespace)
        self._registrar = Registrar(state, sender.send, topic, node, lifecycle.event, audited)
        self.heard = self._registrar.heard
        """To be told of each record of the registry, once the state has it."""

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        failure = ""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                try:
                    await self.look()
                    failure = ""
                except Exception as error:  # noqa: BLE001 - what is not judged now is judged later
                    if not failure:
                        log.warning("canaries are not judged, trying again", error=repr(error))
                    failure = repr(error)
        finally:
            await self._outcomes.stop()
            await self._agreements.stop()

    async def look(self) -> None:
        """Judge what is ours, once. Raises what reading `results` does."""
        living = self._leases.living()
        ours = [
            each
            for each in canaries_of(self._state)
            if is_ours((each.name, each.baseline), self._node, living)
        ]
        running = {each.name: each for each in ours if each.standing is Standing.RUNNING}
        wanted = {name: (each.id, self._read_from(each)) for name, each in running.items()}
        self._noted = {key: told for key, told in self._noted.items() if key in wanted}
        await self._outcomes.follow(wanted)
        await self._agreements.follow({n: (each, wanted[n][1]) for n, each in running.items()})
        for each in ours:
            try:
                await self._judge(each)
            except ModelMoraError as error:
                log.info("a canary is looked at again", model=each.name, why=str(error))
            except Exception:  # others are judged all the same
                log.exception("a canary cannot be judged", model=each.name)

    async def _judge(self, canary: Canary) -> None:
        """What is to be done with one.

        (1) It has ended: its route may still have to follow.
        (2) Something other than its outcomes ends it.
        (3) Its route does not say yet what it is to, or does not count yet.
        (4) What follows from its outcomes.
        """
        # (1)
        if canary.standing is not Standing.RUNNING:
            await self._registrar.follow(canary)
            return
        # (2)
        if end := self._ended_otherwise(canary):
            await self._registrar.tell_canary(end)
            return
        # (3)
        await self._registrar.follow(canary)
        steps = self._state.told_route(canary.name)
        sampling = self._outcomes.of(canary.name)
        if not steps or steps[-1][1] != route_wanted(canary) or sampling is None:
            return
        # (4)
        since_ms = steps[-1][0]
        candidate, baseline = _seen(canary, sampling, since_ms, steps[-2][0] if steps[1:] else 0)
        held_s = (self._now_ms() - since_ms) / 1000
        pairs = self._agreements.of(canary.name)
        await self._obey(canary, decide(canary.plan, candidate, baseline, held_s, pairs))

    async def _obey(self, canary: Canary, decision: Decision) -> None:
        why, numbers, now_ms = decision.why, decision.numbers, round(self._now_ms())
        match decision.verdict:
            case Verdict.ROLL_BACK:
                end = ended(canary, Standing.ROLLED_BACK, why, numbers, now_ms)
                await self._registrar.tell_canary(end)
            case Verdict.GO_ON:
                await self._registrar.tell_canary(stepped(canary, why, numbers, now_ms))
            case Verdict.WAIT:
                await self._note(canary, decision, now_ms)

    async def _note(self, canary: Canary, decision: Decision, now_ms: int) -> None:
        """Tell now and then what was seen, for whoever looks."""
        loop_s = asyncio.get_running_loop().time()
        at_s, before = self._noted.get(canary.name, (-NOTE_S, None))
        if loop_s - at_s < NOTE_S or decision == before:
            return
        self._noted[canary.name] = loop_s, decision
        numbers = decision.numbers
        await self._registrar.note_canary(
            replace(canary, why=decision.why, numbers=numbers, at_ms=now_ms)
        )

    def _ended_otherwise(self, canary: Canary) -> Canary | None:
        """As it stands where something ends it other than its outcomes; None where nothing does.

        (1) Somebody else has changed the route, or the baseline is not there any more.
        (2) The candidate is not there any more, or no node can serve it.
        """
        now_ms, numbers = round(self._now_ms()), canary.numbers
        # (1)
        over, candidate = Standing.OVERTAKEN, canary.plan.candidate
        if whose_route(self._state, canary) is Whose.OTHERS:
            return ended(canary, over, "another has changed the route", numbers, now_ms)
        if not self._is_there(canary.name, canary.baseline):
            why = f"{canary.baseline} is not registered any more"
            return ended(canary, over, why, numbers, now_ms)
        # (2)
        why = self._unserved(f"{canary.name}@{candidate}") or ""
        if not self._is_there(canary.name, candidate):
            why = f"{candidate} is not registered any more"
        return ended(canary, Standing.ROLLED_BACK, why, numbers, now_ms) if why else None

    def _is_there(self, name: str, version: str) -> bool:
        entry = self._state.model(name, version)
        return entry is not None and entry.record.present

    def _unserved(self, model: str) -> str | None:
        """Why no node that knows the model can serve it; None where one can, or none knows it."""
        found = [each.health(model) for each in self._leases.living()]
        told = [each for each in found if each]
        if not told or any(each.state not in _HOPELESS for each in told):
            return None
        return f"no node can serve it: {told[0].reason or told[0].state}"

    def _read_from(self, canary: Canary) -> int:
        """Since when outcomes are needed (Unix ms): those of the step before, too."""
        steps = self._state.told_route(canary.name)
        if not steps or whose_route(self._state, canary) is not Whose.CANARY:
            return canary.at_ms
        if canary.percent < WHOLE:
            return steps[-1][0]
        return max(steps[-2:][0][0], round(self._now_ms()) - MOST_PAST_MS)


def _seen(canary: Canary, sampling: Sampling, since_ms: int, before_ms: int) -> tuple[Seen, Seen]:
    """The outcomes of candidate and baseline at the step that counts since then.

    The baseline of a candidate that has all is that of the step before; where it had all at once,
    what it answered alone. It tells how much fails, but not how long it takes: that is a matter of
    the hour, and a node that died would be the candidate's fault.
    """
    plan = canary.plan
    if canary.percent < WHOLE:
        return sampling.seen(plan.candidate, since_ms), sampling.seen(canary.baseline, since_ms)
    candidate = sampling.seen_alone(plan.candidate, since_ms)
    if not candidate.requests:  # rules are left, so that each outcome says why
        candidate = sampling.seen(plan.candidate, since_ms)
    baseline = sampling.seen(canary.baseline, before_ms)
    if not canary.step:
        baseline = sampling.seen_alone(canary.baseline, before_ms)
    return candidate, replace(baseline, latencies=())
