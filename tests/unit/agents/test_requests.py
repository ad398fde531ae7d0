"""From records to the service: what is admitted, what is buried, what is passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from modelmora.agents.partitions.intake import Intake
from modelmora.agents.requests import LostRecord, Requests
from modelmora.errors import Code, RequestError
from modelmora.kafka.batches import Batch
from modelmora.kafka.reading.unreadable import Unreadable
from modelmora.kafka.topics import read_topics
from modelmora.messages import InferenceRequest, Lane, Source
from modelmora.messages.headers import RUN, principal_of
from modelmora.scheduling import Policy
from modelmora.serving import BrokerClock, HandedOn, Incoming, Record, Service
from modelmora.settings import Limits, Settings
from modelmora.testing.fakes import UNIX_MS, FakeOutcomes, FakeReader, FakeRecord, FakeTime
from modelmora.wire import decode_request, encode_request
from modelmora.wire.ids import id_of_place

LIMIT = 5000


class Hall(Service):
    """A service that only notes what it is given."""

    def __init__(self, clock: BrokerClock) -> None:
        super().__init__(FakeOutcomes(), clock, Policy(), 1000)
        self.accepted: list[Incoming] = []
        self.bursts = 0

    def accept(self, request: Incoming) -> None:
        self.accepted.append(request)

    def arm(self) -> None:
        self.bursts += 1


@dataclass
class Desk:
    """Requests with a service and burials that are written down."""

    buried: list[tuple[Record, RequestError]] = field(default_factory=list)

    def __post_init__(self) -> None:
        limits = Limits(request_bytes=LIMIT)
        settings = Settings(namespace="ns", limits=limits)
        self.intake = Intake(limits, read_topics(settings))
        for lane in Lane:
            self.intake.assign((f"ns.requests.{lane.label}", 0), 0, 0)
        self.time = FakeTime()
        self.clock = BrokerClock(self.time)
        self.service = Hall(self.clock)
        self.requests = Requests(settings, self.intake, self.service, self, self.clock)
        self.requests.reader = self.reader = FakeReader()

    def undecodable(self, record: Record, error: RequestError, principal: str) -> None:
        self.buried.append((record, error))

    async def read(self, records: Sequence[FakeRecord | Unreadable], after: int = 0) -> None:
        partition = (records[0].topic, records[0].partition)
        await self.requests.on_batch(Batch(partition, 0, after, records))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def record(
    offset: int = 0,
    value: bytes | None = None,
    lane: Lane = Lane.NORMAL,
    headers: tuple[tuple[str, bytes | None], ...] = (),
    **fields: bool | str,
) -> FakeRecord:
    if value is None:
        whole = {"request_id": f"r{offset}", "model": "echo", "inputs": ("a",), **fields}
        value = encode_request(InferenceRequest(**whole))  # type: ignore[arg-type]
    return FakeRecord(f"ns.requests.{lane.label}", 0, offset, value=value, headers=headers)


@pytest.mark.parametrize("lane", list(Lane))
async def test_a_request_comes_in_with_its_lane(desk: Desk, lane: Lane) -> None:
    await desk.read([record(lane=lane)])
    (request,) = desk.service.accepted
    assert (request.head.request_id, request.lane) == ("r0", lane)
    assert (request.principal, request.traceparent, request.tell) == ("local", "", False)
    assert desk.clock.now_ms((f"ns.requests.{lane.label}", 0)) == UNIX_MS
    assert desk.buried == []
    assert desk.service.bursts == 1


async def test_headers_travel_along(desk: Desk) -> None:
    headers = (
        ("modelmora-principal", b"alice"),
        ("traceparent", b"00-1-2-01"),
        ("modelmora-gateway", b"g1"),
    )
    await desk.read([record(headers=headers)])
    (request,) = desk.service.accepted
    assert (request.principal, request.traceparent, request.tell) == ("alice", "00-1-2-01", True)


async def test_who_would_rather_be_refused_than_late_says_so_whatever_the_value(desk: Desk) -> None:
    for number, value in enumerate((b"", None, b"1")):
        await desk.read([record(number, headers=(("modelmora-or-busy", value),))], number)
    await desk.read([record(3)], 3)
    told = [request.or_busy for request in desk.service.accepted]
    assert told == [True, True, True, False]


async def test_strange_headers_do_no_harm(desk: Desk) -> None:
    headers = (("modelmora-principal", None), ("traceparent", b"\xff" * 999), ("other", b""))
    await desk.read([record(headers=headers)])
    (request,) = desk.service.accepted
    assert request.principal == "local"
    assert len(request.traceparent) == 256


async def test_of_several_principals_all_mean_the_same(desk: Desk) -> None:
    headers = (("modelmora-principal", b"bob"), ("modelmora-principal", "ä".encode() * 999))
    await desk.read([record(headers=headers)])
    (request,) = desk.service.accepted
    assert request.principal == principal_of(headers) == "ä" * 256


async def test_who_asked_for_progress_is_told(desk: Desk) -> None:
    await desk.read([record(progress=True), record(1, progress=True, headers=(("a", b""),))])
    assert [request.tell for request in desk.service.accepted] == [True, True]


WHOLE = record().value or b""


@pytest.mark.parametrize(
    ("value", "code", "request_id"),
    [
        (b"", Code.EMPTY_VALUE, ""),
        (b"\x00\x00\x00\x00\x01xyz", Code.UNDECODABLE, ""),
        (WHOLE[:2] + bytes(8) + WHOLE[10:], Code.UNKNOWN_SCHEMA, ""),
        (WHOLE[:-2], Code.UNDECODABLE, "r0"),
        (WHOLE + b"more", Code.TRAILING_BYTES, "r0"),
        (WHOLE + bytes(LIMIT), Code.TOO_LARGE, "r0"),
        (bytes(LIMIT + 1), Code.TOO_LARGE, ""),
        (WHOLE[:11], Code.UNDECODABLE, ""),
    ],
)
async def test_what_is_no_request_is_buried(
    desk: Desk, value: bytes, code: Code, request_id: str
) -> None:
    broken = record(0, value)
    await desk.read([broken, record(1)])
    ((buried, error),) = desk.buried
    assert buried is broken
    assert (error.code, error.request_id) == (code, request_id)
    assert [request.head.request_id for request in desk.service.accepted] == ["r1"]


async def test_a_null_value_is_buried(desk: Desk) -> None:
    broken = record()
    broken.value = None
    await desk.read([broken])
    assert desk.buried[0][1].code is Code.NULL_VALUE


async def test_an_empty_id_is_no_id(desk: Desk) -> None:
    await desk.read([record(request_id="")])
    ((_, error),) = desk.buried
    assert (error.code, error.request_id) == (Code.UNDECODABLE, "")


async def test_an_unreadable_record_is_buried_by_its_place(desk: Desk) -> None:
    topic = "ns.requests.low"
    await desk.read([Unreadable(topic, 0, 4), record(5, lane=Lane.LOW)])
    ((lost, error),) = desk.buried
    assert isinstance(lost, LostRecord)
    assert (lost.topic, lost.partition, lost.offset) == (topic, 0, 4)
    assert (error.code, error.request_id) == (Code.UNDECODABLE, "")
    assert len(desk.service.accepted) == 1
    assert desk.intake.owes(lost)


async def test_a_record_is_taken_once(desk: Desk) -> None:
    await desk.read([record(0), record(1)])
    await desk.read([record(0), record(1), record(2)])
    assert [request.record.offset for request in desk.service.accepted] == [0, 1, 2]


async def test_an_assignment_ends_a_batch_under_way(desk: Desk) -> None:
    """Whatever was not taken yet lies behind an offset that is read again."""
    accept = desk.service.accept

    def rebalance(request: Incoming) -> None:
        accept(request)
        if len(desk.service.accepted) == 250:
            desk.intake.assign(("ns.requests.normal", 0), 1, 0)

    desk.service.accept = rebalance  # type: ignore[method-assign]
    await desk.read([record(offset) for offset in range(300)])
    assert len(desk.service.accepted) == 250
    assert desk.intake.next_offset(("ns.requests.normal", 0)) == 0


async def test_a_fault_of_ours_costs_no_other_request(desk: Desk) -> None:
    accept = desk.service.accept

    def faulty(request: Incoming) -> None:
        if request.head.request_id == "r1":
            raise RuntimeError
        accept(request)

    desk.service.accept = faulty  # type: ignore[method-assign]
    await desk.read([record(0), record(1), record(2)])
    assert [request.head.request_id for request in desk.service.accepted] == ["r0", "r2"]
    ((buried, error),) = desk.buried
    assert (buried.offset, error.code, error.request_id) == (1, Code.INFERENCE_FAILED, "r1")


async def test_a_batch_that_got_lost_is_read_again(desk: Desk) -> None:
    await desk.read([record(0), record(1)])
    await desk.read([record(5)], after=5)
    assert len(desk.service.accepted) == 2
    assert desk.intake.next_offset(("ns.requests.normal", 0)) == 2
    await desk.read([record(2), record(3), record(4), record(5)], after=2)
    assert len(desk.service.accepted) == 6


async def test_a_hole_in_the_log_is_no_loss(desk: Desk) -> None:
    await desk.read([record(0), record(1)])
    await desk.read([record(7)], after=2)
    assert len(desk.service.accepted) == 3


async def test_where_a_request_was_first_appended_comes_with_it(desk: Desk) -> None:
    headers = (("modelmora-handed-on", f"1 3 42 {UNIX_MS - 5} ns.requests.normal 1".encode()),)
    forged = (("modelmora-handed-on", f"1 3 42 {UNIX_MS} other.topic 0".encode()),)
    await desk.read([record(0, headers=headers), record(1, headers=forged)])
    first, second = desk.service.accepted
    assert first.retries == 1
    assert first.source == Source("ns.requests.normal", 3, 42)
    assert first.asked_ms == UNIX_MS - 5
    assert second.handed_on is None


async def test_what_was_handed_on_and_answered_elsewhere_is_done(desk: Desk) -> None:
    normal = ("ns.requests.normal", 0)
    desk.intake.assign(normal, 0, 0, answered={0: "r0", 1: "another"})
    await desk.read([record(0), record(1)])
    assert [request.head.request_id for request in desk.service.accepted] == ["r1"]
    commit = desk.intake.commit_of(normal, 0)
    assert commit is not None
    assert commit.offset == 1


async def test_the_run_is_what_the_header_says(desk: Desk) -> None:
    headers = [((RUN, value),) for value in (b"3", b"x")]
    await desk.read([record(), *(record(n, headers=each) for n, each in enumerate(headers, 1))])
    assert [request.run for request in desk.service.accepted] == [1, 3, 1]


async def test_a_request_in_json_comes_in_as_one_in_avro(desk: Desk) -> None:
    told = FakeRecord(
        "ns.requests.high", 0, 0, key=b"echo", value=b'{"inputs": ["a"], "progress": true}'
    )
    await desk.read([told])
    (request,) = desk.service.accepted
    assert (request.head.model, request.head.inputs, request.tell) == ("echo", 1, True)
    assert decode_request(request.value).inputs == ("a",)
    assert request.record.value == told.value, "what is handed on or buried is the record itself"


async def test_a_request_in_json_keeps_its_id_where_it_is_handed_on(desk: Desk) -> None:
    value, first = b'{"inputs": ["a"]}', HandedOn(1, 5, 77, UNIX_MS - 9, "ns.requests.low")
    handed = FakeRecord("ns.requests.low", 0, 0, value=value, headers=(first.header(),))
    await desk.read([handed])
    (request,) = desk.service.accepted
    assert request.head.request_id == id_of_place("ns.requests.low", 5, 77, UNIX_MS - 9)


@pytest.mark.parametrize(
    ("value", "code"),
    [(b'{"request_id": "r1"', Code.INVALID_INPUT), (b'{"inputs": 1}', Code.INVALID_INPUT)],
)
async def test_bad_json_has_an_outcome_too(desk: Desk, value: bytes, code: Code) -> None:
    told = FakeRecord("ns.requests.low", 0, 0, value=value)
    await desk.read([told])
    ((_, error),) = desk.buried
    assert error.code is code
    assert error.request_id == id_of_place("ns.requests.low", 0, 0, told.timestamp)


async def test_json_that_is_too_large_is_told_by_its_own_id(desk: Desk) -> None:
    value = b'{"request_id": "mine", "inputs": ["%s"]}' % (b"x" * LIMIT)
    await desk.read([FakeRecord("ns.requests.low", 0, 0, value=value)])
    ((_, error),) = desk.buried
    assert (error.code, error.request_id) == (Code.TOO_LARGE, "mine")


SOON = ("ns.retry.30s", 0)


def put_off(offset: int, timestamp: int, source: str = "ns.requests.high") -> FakeRecord:
    told = HandedOn(0, 3, 42 + offset, UNIX_MS - 9, source, 1)
    value = record(offset).value
    headers = (told.header(),)
    return FakeRecord(*SOON, offset, timestamp=timestamp, value=value, headers=headers)


async def test_what_was_put_off_is_read_when_it_is_due_and_not_before(desk: Desk) -> None:
    desk.intake.assign(SOON, 7, 0)
    found = [put_off(0, UNIX_MS), put_off(1, UNIX_MS + 2_000), put_off(2, UNIX_MS + 9_000)]
    for each in found:
        each.epoch = 7
    desk.clock.acknowledged(UNIX_MS + 31_000, "elsewhere")
    await desk.requests.on_batch(Batch(SOON, 7, 0, found))
    (request,) = desk.service.accepted
    assert (request.lane, request.retries) == (Lane.HIGH, 1)
    assert request.source == Source("ns.requests.high", 3, 42)
    assert desk.intake.gated == {SOON}
    assert not desk.intake.follows(SOON, 7, 3), "what lies behind it is not passed over"
    desk.time.now += 0.9
    desk.requests.regate()
    assert desk.intake.gated == {SOON}
    desk.time.now += 0.2
    desk.requests.regate()
    assert (desk.intake.gated, desk.reader.places) == (set(), [{SOON: (7, 1)}])
    await desk.requests.on_batch(Batch(SOON, 7, 1, found[1:]))
    assert len(desk.service.accepted) == 2


async def test_what_somebody_else_wrote_there_is_a_request_of_the_lowest_lane(desk: Desk) -> None:
    desk.intake.assign(SOON, 0, 0)
    desk.clock.acknowledged(UNIX_MS + 31_000, "elsewhere")
    await desk.read([put_off(0, UNIX_MS, "ns.retry.30s")])
    (request,) = desk.service.accepted
    assert (request.lane, request.retries) == (Lane.LOW, 0)
    assert request.source == Source(*SOON, 0)


async def test_who_wakes_up_without_a_partition_is_not_disturbed(desk: Desk) -> None:
    desk.intake.assign(SOON, 0, 0)
    await desk.read([put_off(0, UNIX_MS)])
    assert desk.intake.gated == {SOON}
    desk.intake.revoke([SOON])
    desk.time.now += 60
    desk.requests.regate()
    assert desk.service.accepted == []


async def test_only_what_comes_from_its_sender_is_a_first_try(desk: Desk) -> None:
    firsts: list[None] = []
    desk.requests.on_first = lambda: firsts.append(None)
    handed = HandedOn(1, 3, 42, UNIX_MS, "ns.requests.normal").header()
    await desk.read([record(0), record(1, headers=(handed,))])
    assert len(firsts) == 1
