"""What the answers to probes, and their lack, say of the path."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord
from prometheus_client import generate_latest

from modelmora.gateway.metrics import Metrics
from modelmora.gateway.probes.path import AT_ONCE, MOST_ASKED, How, Path
from modelmora.gateway.probes.prober import Prober, Told
from modelmora.kafka.leases import HELD_BACK, NodeLease, held_back_text
from modelmora.kafka.pulse import Pulse, Shape
from modelmora.kafka.writing.publisher import Publisher, Record, Written
from modelmora.messages import Lane
from modelmora.messages.headers import PROBE_SIGNATURE
from modelmora.settings import Settings
from modelmora.wire import new_request_id

LANES = [f"ns.requests.{lane.label}" for lane in Lane]
LOW = LANES[-1]
LIMIT_S = 15.0

# The path, which is pure ------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 2, 3, 4, 12, 48, 50])
def test_every_partition_has_its_turn(partitions: int) -> None:
    path, seen = Path(7), set[int]()
    for _ in range(partitions):
        turn = path.due(LOW, partitions)
        assert len(turn) == min(AT_ONCE, partitions)
        seen.update(turn)
    assert seen == {*range(partitions)}


def test_those_of_one_turn_lie_apart() -> None:
    assert Path().due(LOW, 12) == [0, 4, 8]


def test_an_answer_is_awaited_once() -> None:
    path = Path()
    path.sent(b"r1", (LOW, 3), 10)
    assert path.is_awaited(b"r1")
    assert path.answered(b"r1", 10.5)
    assert not path.answered(b"r1", 11)
    assert path.lanes[LOW].seconds == 0.5
    assert path.lanes[LOW].last == {How.ANSWERED: 10.5}
    assert path.oldest_s(100) == 0


def test_a_partition_is_late_since_what_it_was_first_asked() -> None:
    path = Path()
    path.sent(b"r1", (LOW, 3), 10)
    path.sent(b"r2", (LOW, 3), 20)
    assert not path.late(LIMIT_S, 24, {LOW: 4})
    assert path.late(LIMIT_S, 25, {LOW: 4}).keys() == {(LOW, 3)}
    assert 3 in path.due(LOW, 12), "it is asked again before its turn"
    assert path.answered(b"r2", 26)
    assert not path.is_awaited(b"r1"), "what comes behind it has shown that it works"
    assert not path.late(LIMIT_S, 90, {LOW: 4})


def test_a_lane_is_silent_where_none_of_its_partitions_has_answered() -> None:
    path = Path()
    path.sent(b"r1", (LOW, 0), 10)
    path.sent(b"r2", (LOW, 1), 10)
    assert path.silent(LIMIT_S, 25) == {LOW: 15}
    path.answered(b"r2", 26)
    assert not path.silent(LIMIT_S, 100)
    assert path.late(LIMIT_S, 26, {LOW: 2}).keys() == {(LOW, 0)}


def test_what_is_held_back_on_purpose_owes_nothing() -> None:
    path = Path()
    path.sent(b"r1", (LOW, 0), 10)
    path.excuse([(LOW, 0), (LOW, 9)], 20)
    assert (path.late(LIMIT_S, 99, {LOW: 2}), path.silent(LIMIT_S, 99)) == ({}, {})
    assert path.lanes[LOW].last == {How.HELD_BACK: 20}


def test_a_topic_that_has_fewer_partitions_owes_no_more_than_they() -> None:
    path = Path()
    path.sent(b"r1", (LOW, 3), 10)
    assert not path.late(LIMIT_S, 99, {LOW: 3})
    assert not path.is_awaited(b"r1")


def test_it_keeps_no_more_than_a_few_of_what_is_never_answered() -> None:
    path = Path()
    for number in range(100):
        path.sent(b"%d" % number, (LOW, 0), number)
    assert sum(path.is_awaited(b"%d" % number) for number in range(100)) == MOST_ASKED
    assert path.late(LIMIT_S, 100, {LOW: 1})[LOW, 0].since == 0


# The prober --------------------------------------------------------------------------------------


class Desk:
    """A prober whose topics, nodes and publisher are made up."""

    alive = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)
        self.now = 0.0
        self.shapes = {topic: Shape("id", 3) for topic in LANES}
        self.sent: list[Record] = []
        self.parked: dict[str, str] = {}
        self.nodes = [self.node()]
        self.metrics = Metrics()
        self.prober = Prober(
            Settings(namespace="ns", **settings),
            cast("Pulse", self),
            cast("Publisher", self),
            self.mint,
            lambda: self.nodes,
            self.metrics,
            None,
        )
        self.prober.look(reads=True)

    @staticmethod
    def node(*held: tuple[str, int], partitions: tuple[int, ...] = (0, 1, 2)) -> NodeLease:
        text = {HELD_BACK: held_back_text(held)}
        return NodeLease("n1", {}, partitions, 0, 10_000, {}, {}, text)

    def time(self) -> float:
        return self.now

    def send(self, record: Record) -> None:
        self.sent.append(record)

    async def mint(self) -> tuple[str, int]:
        return new_request_id(), 1

    async def ask(self, *, written: bool = True) -> None:
        await self.prober._ask()
        for record in self.sent if written else ():
            record.decided(Written(record.partition or 0, 0, 0))

    def answer(self, *topics: str) -> None:
        for record in self.sent:
            if record.topic in topics:
                self.prober.hears(cast("ConsumerRecord", record))

    def wait(self, seconds: float, *, reads: bool = True) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.prober.look(reads)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


async def test_each_lane_is_asked(desk: Desk) -> None:
    await desk.ask()
    assert {(each.topic, each.partition) for each in desk.sent} == {
        (topic, number) for topic in LANES for number in range(3)
    }
    assert not any(name == PROBE_SIGNATURE for each in desk.sent for name, _ in each.headers)


async def test_nothing_is_asked_while_a_node_of_before_runs(desk: Desk) -> None:
    """It would take each probe for a request of a model that it lacks: a dead letter."""
    await desk.ask()
    of_before = NodeLease("n0", {}, (), 0, 10_000, {}, {}, {"m@1": "1"})
    desk.nodes.append(of_before)
    desk.wait(30)
    assert not desk.prober._on
    assert desk.prober.told() == Told()
    desk.nodes.remove(of_before)
    desk.wait(1)
    assert desk.prober._on


async def test_a_lane_that_answers_nothing_is_told_with_what_to_do(desk: Desk) -> None:
    await desk.ask()
    desk.answer(*LANES[:3])
    desk.wait(14)
    assert desk.prober.told().silent == ()
    desk.wait(1)
    (line,) = desk.prober.told().silent
    assert line == (
        f"no probe of {LOW} was answered for 15 s: look at /health of the nodes, and whether "
        "`results` is written"
    )
    assert desk.prober.told().late is None, "it is told once"
    assert desk.prober.told().oldest_s == 15
    desk.wait(1)
    told = generate_latest(desk.metrics.registry).decode()
    assert 'modelmora_gateway_probe_age_seconds{lane="low",result="late"}' in told
    assert 'modelmora_gateway_probe_age_seconds{lane="high",result="answered"} 16.0' in told


async def test_a_partition_that_answers_nothing_is_told_with_who_reads_it(desk: Desk) -> None:
    await desk.ask()
    for record in desk.sent:
        if (record.topic, record.partition) != (LOW, 1):
            desk.prober.hears(cast("ConsumerRecord", record))
    desk.wait(16)
    told = desk.prober.told()
    assert told.silent == ()
    assert told.late == f"no probe of {LOW} 1 was answered for 16 s: look at /health of n1"
    desk.nodes = [desk.node(partitions=(0,))]
    assert (desk.prober.told().late or "").endswith("no node says that it reads it")


async def test_what_the_broker_does_not_take_is_told_with_its_reason(desk: Desk) -> None:
    await desk.ask(written=False)
    desk.answer(*LANES[:3])
    desk.wait(15)
    (line,) = desk.prober.told().silent
    assert line == (
        f"nothing can be written to {LOW} for 15 s: the broker does not acknowledge it: look at "
        "the topic and its replicas"
    )
    desk.parked = {LOW: "the broker denies us Write on it"}
    (line,) = desk.prober.told().silent
    assert line.endswith("for 15 s: the broker denies us Write on it")


async def test_a_lane_that_is_gone_is_told_at_once(desk: Desk) -> None:
    await desk.ask()
    del desk.shapes[LOW]
    desk.wait(20)
    lines = desk.prober.told().silent
    assert lines[0] == f"there is no topic {LOW}: `modelmora topics create` makes it"
    assert not any(LOW in line for line in lines[1:])


@pytest.mark.parametrize("way", ["no node reads", "held back", "stood still"])
async def test_what_can_have_no_answer_is_no_fault(desk: Desk, way: str) -> None:
    await desk.ask()
    desk.wait(10)
    if way == "no node reads":
        desk.wait(1, reads=False)
    elif way == "held back":
        desk.nodes = [desk.node(*((topic, n) for topic in LANES for n in range(3)))]
        desk.wait(1)
    else:
        desk.now += 3600
        desk.prober.look(reads=True)
    desk.wait(4)
    told = desk.prober.told()
    assert (told.silent, told.late) == ((), None)


async def test_many_are_counted(desk: Desk) -> None:
    await desk.ask()
    kept = [each for each in desk.sent if each.partition == 2]
    for record in kept:
        desk.prober.hears(cast("ConsumerRecord", record))
    desk.wait(15)
    assert (desk.prober.told().late or "").endswith("; 5 partitions more")


async def test_what_is_given_up_is_not_written_any_more(desk: Desk) -> None:
    await desk.ask(written=False)
    assert all(each.wanted and each.wanted() for each in desk.sent)
    desk.wait(1, reads=False)
    assert not any(each.wanted and each.wanted() for each in desk.sent)


async def test_an_outcome_that_is_none_of_its_own_is_left_to_others(desk: Desk) -> None:
    await desk.ask()
    for key in (b"r1", None):
        record = Record("ns.results", key, None, lambda _: None)
        assert not desk.prober.hears(cast("ConsumerRecord", record))


@pytest.mark.parametrize("off", [{"timing": {"probe_s": 0}}, {"nodes_on_demand": True}])
async def test_it_ends_at_once_where_it_is_off(
    monkeypatch: pytest.MonkeyPatch, off: dict[str, Any]
) -> None:
    desk = Desk(monkeypatch, **off)
    desk.shapes.clear()
    assert desk.prober.told().silent == ()
    monkeypatch.undo()
    await asyncio.wait_for(desk.prober.run(), 30)
    assert not desk.sent
