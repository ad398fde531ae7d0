"""The lease of this node: told at changes and in time, removed at its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.agents.models.presence import HOLDING_S, Presence
from modelmora.agents.partitions.intake import Intake
from modelmora.kafka.leases import Leases
from modelmora.kafka.topics import lane_topics
from modelmora.messages import Health, Holding, RegistryKind, RegistryRecord, State
from modelmora.serving import Offered
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeSender, FakeTime
from modelmora.wire import decode_registry


class Desk:
    """A node's presence whose clock obeys the test; a lease holds for ten seconds."""

    def __init__(self) -> None:
        settings = Settings(namespace="ns")
        self.lanes = list(lane_topics(settings))
        self.models: dict[str, Offered] = {}
        self.holding: dict[str, Holding] = {}
        self.intake = Intake(settings.limits, lane_topics(settings))
        self.leases = Leases()
        self.sender = FakeSender()
        self.time = FakeTime()
        self.presence = Presence(
            settings,
            "n1",
            lambda: (self.models, self.holding),
            self.intake,
            self.leases,
            self.sender,
            self.time,
        )

    def told(self) -> list[RegistryRecord | None]:
        """What was written since the last look; the broker has it now."""
        self.presence.tell()
        return self.taken()

    def taken(self) -> list[RegistryRecord | None]:
        sent = [*self.sender.waiting]
        self.sender.acknowledge_all()
        return [decode_registry(each.value) if each.value else None for each in sent]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_it_is_renewed_in_time_and_not_before(desk: Desk) -> None:
    (record,) = desk.told()
    assert record is not None
    assert (record.kind, record.name, record.lease_ms) == (RegistryKind.NODE, "n1", 10_000)
    assert desk.told() == []
    desk.time.now += 2.5
    assert desk.told() == [record]


def test_what_was_held_back_since_is_told_with_the_next_renewal(desk: Desk) -> None:
    desk.told()
    desk.intake.assign((desk.lanes[0], 2), 0, 0)
    desk.told()
    desk.intake.rest((desk.lanes[0], 2))
    assert desk.told() == [], "it is no news"
    desk.intake.wake((desk.lanes[0], 2))
    desk.time.now += 2.5
    for held_back in ({(desk.lanes[0], 2)}, set()):
        (record,) = desk.told()
        assert record is not None
        desk.leases.take(b"n1", record, 1)
        (lease,) = desk.leases.living()
        assert lease.held_back == held_back
        assert lease.knows_probes
        assert not lease.models()
        desk.time.now += 2.5


def test_changes_are_told_at_once(desk: Desk) -> None:
    desk.told()
    desk.models = {
        "m@1": Offered("echo", Health(State.COLD)),
        "torn@1": Offered("echo", Health(State.FAILED, "no weights")),
        "late@1": Offered("echo", Health(State.FAILED, "no memory", 1000)),
    }
    (record,) = desk.told()
    assert record is not None
    assert record.serves == {"m@1": "echo", "late@1": "echo"}
    assert record.failed == {"torn@1": "no weights", "late@1": "no memory"}
    assert record.states == {"m@1": "cold", "torn@1": "failed", "late@1": "failed"}
    for lane in desk.lanes:
        desk.intake.assign((lane, 3), 0, 0)
    desk.intake.assign((desk.lanes[0], 4), 0, 0)
    (record,) = desk.told()
    assert record is not None
    assert record.partitions == (3,), "only what is read of all lanes"


def test_one_is_written_at_a_time(desk: Desk) -> None:
    desk.presence.tell()
    desk.time.now += 60
    desk.presence.tell()
    assert len(desk.taken()) == 1
    assert len(desk.told()) == 1


def test_it_is_removed_at_the_end(desk: Desk) -> None:
    early = Desk()
    early.presence.leave()
    assert early.taken() == [], "nobody knows it yet"
    desk.told()
    desk.presence.leave()
    assert desk.sender.waiting[0].key == b"NODE:n1@"
    assert desk.taken() == [None]
    desk.holding = {"m@1": Holding(waiting=1)}
    desk.time.now += 60
    assert desk.told() == [], "who drains is not there again"


def test_nodes_that_are_long_gone_are_removed(desk: Desk) -> None:
    gone = RegistryRecord(RegistryKind.NODE, "n0", "", "", "", "n0", lease_ms=10)
    desk.leases.take(b"NODE:n0@", gone, 0)
    desk.leases.take(b"", None, 101)
    assert desk.told()[1:] == [None]
    assert desk.sender.sent[-1].key == b"NODE:n0@"


def test_what_models_hold_is_told_with_the_lease_and_where_they_are_before(desk: Desk) -> None:
    def told(**holding: object) -> list[str]:
        desk.holding = {"m@1": Holding(**holding)}  # type: ignore[arg-type]
        return [each.holding.get("m@1", "") for each in desk.told() if each]

    assert told() == [""], "what holds nothing takes no room"
    assert told(waiting=3, device="cpu", pid=7) == []
    desk.time.now += HOLDING_S
    assert told(waiting=3) == told(memory_bytes=9, running=2, idle_s=1.0) == []
    assert told(device="cpu", pid=7) == ['{"device":"cpu","pid":7}']
    desk.time.now += HOLDING_S
    assert told(device="cpu", pid=7, waiting=9) == []
    assert told(waiting=4, pinned=True) == ['{"waiting":4,"pinned":true}'], "an order waits for it"
    assert told(waiting=5, pinned=True) == []
    desk.time.now += 2.5
    assert told(waiting=5, pinned=True) == ['{"waiting":5,"pinned":true}'], "with the lease"


@given(
    st.builds(
        Holding,
        st.none() | st.just("cuda:0"),
        st.none() | st.integers(1, 2**22),
        *[st.integers(0, 2**50)] * 4,
        *[st.none() | st.floats(0, 1e6).map(lambda s: round(s, 1))] * 2,
        st.booleans(),
    )
)
def test_what_a_model_holds_is_read_as_it_was_told(holding: Holding) -> None:
    assert Holding.read(holding.text) == holding


@pytest.mark.parametrize(
    "text", ["[", "[]", "null", '{"pid":"7"}', '{"pid":true}', '{"waiting":-1,"idle_s":1e99}', "1"]
)
def test_what_a_stranger_tells_is_no_holding(text: str) -> None:
    assert Holding.read(text) == Holding()


@pytest.mark.parametrize(
    ("sent_s", "taken_s", "heard_s", "ahead_s"),
    [
        (100.0, 101.0, 103.0, 0.0),
        (3700.0, 101.0, 3702.0, 3599.0),
        (100.0, 3701.0, 102.0, -3599.0),
        (100.0, 0.0, 102.0, 0.0),
    ],
)
def test_the_clock_is_compared_with_that_of_the_broker(
    desk: Desk, sent_s: float, taken_s: float, heard_s: float, ahead_s: float
) -> None:
    """The way there and back says nothing of the clocks, nor does a topic without the broker's."""
    wall = FakeTime(sent_s)
    desk.presence._wall = wall
    desk.presence.tell()
    wall.now = heard_s
    desk.sender.acknowledge(round(taken_s * 1000))
    assert desk.presence.ahead_s == ahead_s
