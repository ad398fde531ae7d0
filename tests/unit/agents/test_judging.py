"""Who judges a canary: what follows from what is there, and what two judges at once do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest

from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.models.agreeing import Agreements
from modelmora.agents.models.judging import Judge
from modelmora.agents.models.outcomes import Outcomes
from modelmora.errors import Code
from modelmora.kafka.leases import Leases
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.canaries import Canary, Standing, canary_of
from modelmora.records.changes import LAG_MS
from modelmora.records.routes import route_record
from modelmora.records.stepping import canary_over, start, stepped
from modelmora.records.verbs import set_route
from modelmora.routing import alone
from modelmora.routing.sampling import Sampling
from modelmora.settings.canaries import CanaryPlan
from modelmora.settings.routes import Route
from modelmora.wire import decode_event, decode_registry
from tests.facts import faults
from tests.unit.records.test_routes import MODEL
from tests.unit.routing.test_sampling import outcome

PLAN = CanaryPlan(candidate="2", steps=(5, 100), hold_s=60, samples=50)
LEASE = RegistryRecord(
    RegistryKind.NODE, "n1", "", "", "", "n1", lease_ms=10_000, serves={"m@1": "t", "m@2": "t"}
)


class Log:
    """A registry whose log is a list; who writes is read at once, by all."""

    def __init__(self) -> None:
        self.state = Registry()
        self.leases = Leases()
        self.judges: list[Judge] = []
        self.events: list[tuple[str, str]] = []
        self.audited: list[tuple[str, str | None]] = []
        self.now_ms = 0.0
        self.before: list[RegistryRecord] = []
        """What another writes, just before our next record."""
        self._next = 0

    def send(self, record: Outgoing) -> None:
        if record.topic == Topic.EVENTS.full("ns"):
            event = decode_event(record.value)
            assert faults(event) == []
            self.events.append((event.kind.value, str(event.facts.get("state", ""))))
        else:
            for other in self.before:
                self.write(other)
            self.before = []
            self.write(decode_registry(record.value))

    def write(self, record: RegistryRecord) -> None:
        key, offset = key_of(record), self._next
        self._next += 1
        if self.leases.take(key, record, 0):
            return
        self.state.take(key, record, offset, round(self.now_ms) or None)
        for each in self.judges:
            each.heard(key, record, offset)

    def judge(self, node: str, seen: Seen) -> Judge:
        def audit(verb: str, principal: str, **told: object) -> None:
            self.audited.append((verb, cast("str | None", told["reason"])))

        lifecycle = Lifecycle(self, node, "ns")
        known = (node, "ns", self.state, self.leases, cast("Outcomes", seen))
        pairs = cast("Agreements", seen.pairs)
        made = Judge(*known, pairs, self, lifecycle, audit, lambda: self.now_ms)
        self.judges.append(made)
        return made

    @property
    def canary(self) -> Canary:
        found = canary_of(self.state, "m")
        assert found
        return found

    @property
    def weights(self) -> Mapping[str, int]:
        return self.state.told_route("m")[-1][1].weights

    @property
    def since_ms(self) -> int:
        return self.state.told_route("m")[-1][0]


class Pairs:
    """How far answers agree, as a test has it."""

    def __init__(self) -> None:
        self.values: list[float] = []

    async def follow(self, _: object) -> None:
        """It is there."""

    def of(self, _: str) -> list[float]:
        return self.values


class Seen:
    """The outcomes as a test has them come."""

    def __init__(self, log: Log) -> None:
        self.sampling: Sampling | None = Sampling("m")
        self.pairs = Pairs()
        self.followed: Mapping[str, tuple[str, int]] = {}
        self._log = log
        self._ids = 0

    async def follow(self, wanted: Mapping[str, tuple[str, int]]) -> None:
        self.followed = wanted

    def of(self, _: str) -> Sampling | None:
        return self.sampling

    def come(self, version: str, count: int = 50, code: Code | None = None) -> None:
        assert self.sampling
        shared = len(self._log.weights) > 1
        why = {"route": f"weights since {self._log.since_ms}"} if shared else {}
        for _ in range(count):
            self._ids += 1
            head = outcome(str(self._ids), version, code, settings=why)
            self.sampling.take(head, self._log.since_ms)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr("modelmora.records.registrar.now_ms", lambda: round(log.now_ms))
    for version in ("1", "2"):
        log.write(replace(MODEL, version=version))
    log.write(LEASE)
    log.write(log.state.settled(route_record("m", alone("1"), "gw"), 0))
    log.now_ms = 1_000_000
    log.write(canary_over(log.state, start(log.state, "m", PLAN, 1_000_000), "gw", 1_000_000))
    return log


@pytest.fixture
def seen(log: Log) -> Seen:
    return Seen(log)


@pytest.fixture
async def judge(log: Log, seen: Seen) -> Judge:
    return log.judge("n1", seen)


async def test_from_the_first_share_to_all(log: Log, seen: Seen, judge: Judge) -> None:
    await judge.look()
    assert (log.weights, log.since_ms) == ({"1": 95, "2": 5}, 1_000_000 + LAG_MS)
    assert seen.followed == {"m": (log.canary.id, 1_000_000)}
    log.now_ms = log.since_ms + 59_000
    await judge.look()
    assert log.canary.why == "the candidate has 0 of 50 outcomes"
    seen.come("1", 500)
    seen.come("2")
    log.now_ms += 1_000
    await judge.look()
    assert (log.canary.step, log.weights) == (1, {"2": 1})
    assert log.canary.numbers["candidate_requests"] == 50
    seen.come("2", 60)
    log.now_ms = log.since_ms + 60_000
    await judge.look()
    assert (log.canary.standing, log.weights) == (Standing.DONE, {"2": 1})
    await judge.look()
    assert seen.followed == {}
    states = [state for kind, state in log.events if kind == "canary_decided"]
    assert states == ["running", "done"]
    assert [verb for verb, _ in log.audited] == ["route", "canary", "route", "canary"]
    assert log.audited[1][1] == (
        "running at 100 %: not worse, held for 60 s (candidate_requests=50 candidate_failed_share=0"
        " candidate_p50_ms=10 candidate_p95_ms=10 baseline_requests=500 baseline_failed_share=0"
        " baseline_p50_ms=10 baseline_p95_ms=10 worse_least_share=0)"
    )


async def test_what_fails_is_rolled_back_at_the_first_look(
    log: Log, seen: Seen, judge: Judge
) -> None:
    await judge.look()
    seen.come("1", 500)
    seen.come("2", 50, Code.INFERENCE_FAILED)
    log.now_ms = log.since_ms + 1
    await judge.look()
    assert (log.canary.standing, log.weights) == (Standing.ROLLED_BACK, {"1": 1})
    assert log.canary.why.startswith("it fails more: 50 of 50 against 0 of 500")


async def test_what_fails_only_once_it_has_all_is_rolled_back_too(
    log: Log, seen: Seen, judge: Judge
) -> None:
    await judge.look()
    seen.come("1", 500)
    seen.come("2")
    log.now_ms = log.since_ms + 60_000
    await judge.look()
    assert log.weights == {"2": 1}
    seen.come("2", 100, Code.INFERENCE_FAILED)
    log.now_ms = log.since_ms + 1
    await judge.look()
    assert (log.canary.standing, log.weights) == (Standing.ROLLED_BACK, {"1": 1})


async def test_before_all_was_read_nothing_is_decided(log: Log, seen: Seen, judge: Judge) -> None:
    seen.sampling = None
    await judge.look()
    log.now_ms = log.since_ms + 10**6
    await judge.look()
    assert (log.canary.standing, log.canary.why) == (Standing.RUNNING, "it begins")


async def test_another_goes_on_where_the_judge_has_died(log: Log, seen: Seen, judge: Judge) -> None:
    """Between the word that it goes on and the route that follows."""
    await judge.look()
    canary = stepped(log.canary, "not worse", {}, 0)
    log.write(canary_over(log.state, canary, "n1", 0))
    log.judges.clear()
    other = log.judge("n2", Seen(log))
    await other.look()
    assert log.weights == {"1": 95, "2": 5}, "it is the first node's to judge"
    log.write(replace(LEASE, name="n2", writer="n2"))
    log.write(replace(LEASE, present=False))
    log.now_ms += 20_000
    await other.look()
    assert log.weights == {"2": 1}


async def test_of_two_that_judge_at_once_one_decides(log: Log, seen: Seen, judge: Judge) -> None:
    """What the other has written just before counts; ours is refused, and looked at again."""
    await judge.look()
    seen.come("1", 500)
    seen.come("2")
    log.now_ms = log.since_ms + 60_000
    theirs = canary_over(log.state, stepped(log.canary, "by another", {}, 0), "n2", 0)
    log.before = [theirs]
    await judge.look()
    assert (log.canary.step, log.canary.why) == (1, "by another")
    await judge.look()
    assert log.weights == {"2": 1}


@pytest.mark.parametrize("weights", [{"1": 50, "2": 50}, {"1": 95, "2": 5}, {"1": 1}])
async def test_what_somebody_else_changes_ends_it_and_stays(
    log: Log, seen: Seen, judge: Judge, weights: dict[str, int]
) -> None:
    await judge.look()
    for route in (Route(weights={"2": 1}), Route(weights=weights)):
        record = set_route(log.state, "m", route, "operator")
        assert record
        log.now_ms = int(max(record.routes)) - LAG_MS
        log.write(record)
    await judge.look()
    await judge.look()
    assert (log.canary.standing, log.weights) == (Standing.OVERTAKEN, weights)


async def test_a_candidate_that_no_node_can_serve_is_rolled_back(
    log: Log, seen: Seen, judge: Judge
) -> None:
    await judge.look()
    failed = {"m@2": "it is broken"}
    log.write(replace(LEASE, serves={"m@1": "t"}, failed=failed))
    other = replace(LEASE, name="n2", writer="n2")
    log.write(other)
    await judge.look()
    assert log.canary.standing is Standing.RUNNING, "the other node can"
    log.write(replace(other, serves={"m@1": "t"}, failed=failed))
    await judge.look()
    assert log.canary.why == "no node can serve it: it is broken"
    assert (log.canary.standing, log.weights) == (Standing.ROLLED_BACK, {"1": 1})


@pytest.mark.parametrize(
    ("version", "standing"), [("2", Standing.ROLLED_BACK), ("1", Standing.OVERTAKEN)]
)
async def test_a_version_that_its_node_withdraws_ends_it(
    log: Log, seen: Seen, judge: Judge, version: str, standing: Standing
) -> None:
    await judge.look()
    entry = log.state.model("m", version)
    assert entry
    log.write(replace(entry.record, present=False, based_on=entry.offset))
    await judge.look()
    assert log.canary.standing is standing
    assert log.canary.why == f"{version} is not registered any more"


async def test_what_is_seen_is_told_now_and_then_and_no_decision_is_made_of_it(
    log: Log, seen: Seen, judge: Judge
) -> None:
    told = [log.canary.at_ms]
    for _ in range(5):
        log.now_ms += 1
        seen.come("2", 1)
        await judge.look()
        told.append(log.canary.at_ms)
    assert len({*told}) == 2
    assert [kind for kind, _ in log.events] == ["route_changed"]
    assert [verb for verb, _ in log.audited] == ["route"]
