"""Handing on: to which partition, when not, and what the header of it may hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelmora.agents.handon import MOST_HOPS, HandOn, elsewhere
from modelmora.agents.partitions.intake import Intake
from modelmora.errors import Code, RequestError
from modelmora.kafka.leases import Leases
from modelmora.kafka.topics import lane_topics
from modelmora.messages import RegistryKind, RegistryRecord, RequestHead, Source, Timings
from modelmora.scheduling import ModelKey
from modelmora.serving import HandedOn, Incoming
from modelmora.settings import Settings
from modelmora.testing.fakes import UNIX_MS, FakeRecord, incoming

UNKNOWN = RequestError(Code.UNKNOWN_MODEL, "m is not served")
LANE = "modelmora.requests.normal"


def leases(now_ms: int = UNIX_MS, **partitions: tuple[int, ...]) -> Leases:
    """Nodes that serve `m` and read these partitions."""
    made = Leases()
    for node, numbers in partitions.items():
        record = RegistryRecord(
            RegistryKind.NODE,
            node,
            "",
            "",
            "",
            node,
            lease_ms=1000,
            serves={"m@1": "echo"},
            partitions=numbers,
        )
        made.take(f"NODE:{node}@".encode(), record, UNIX_MS)
    made.take(b"", None, now_ms)
    return made


def request(number: int = 0, model: str = "m") -> RequestHead:
    return RequestHead(f"r{number}", model)


def test_a_model_that_nobody_has_is_unknown() -> None:
    assert elsewhere(request(), 0, Leases(), set(), UNKNOWN) is UNKNOWN
    assert elsewhere(request(model="other"), 0, leases(a=(1,)), set(), UNKNOWN) is UNKNOWN


def test_all_partitions_of_all_who_have_it_are_used_and_none_of_ours() -> None:
    """One that is ours by now is read here, where nobody has the model."""
    nodes = leases(a=(0, 1, 2), b=(5,))
    found = {elsewhere(request(number), 0, nodes, {1}, UNKNOWN) for number in range(100)}
    assert found == {0, 2, 5}
    again = {elsewhere(request(7), 0, nodes, {1}, UNKNOWN) for _ in range(3)}
    assert len(again) == 1


def test_ones_own_lease_says_nothing() -> None:
    """The model has just been removed, or has broken; the lease says so in a moment."""
    for nodes in (leases(a=(1,)), leases(UNIX_MS + 1001, a=(1,))):
        assert elsewhere(request(), 0, nodes, {1}, UNKNOWN, node="a") is UNKNOWN
    assert elsewhere(request(), 0, leases(a=(1,), b=(2,)), {1}, UNKNOWN, node="a") == 2


@pytest.mark.parametrize(
    ("nodes", "own", "hops", "code"),
    [
        (leases(a=(1,)), {1}, 0, Code.MODEL_UNAVAILABLE),
        (leases(a=()), set(), 0, Code.MODEL_UNAVAILABLE),
        (leases(UNIX_MS + 1001, a=(1,)), set(), 0, Code.MODEL_UNAVAILABLE),
        (leases(a=(1,)), set(), MOST_HOPS, Code.CANNOT_BE_SERVED),
    ],
)
def test_why_it_ends_here_although_it_is_known(
    nodes: Leases, own: set[int], hops: int, code: Code
) -> None:
    found = elsewhere(request(), hops, nodes, own, UNKNOWN)
    assert isinstance(found, RequestError)
    assert found.code is code


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"1",
        b"1 2 3",
        b"1 2 3 4 t",
        b"1 2 3 4 t 5 6",
        b"-1 2 3 4 t 0",
        b"1 2 3 4.0 t 0",
        b"1 2147483648 3 4 t 0",
        b"1 2 9223372036854775808 4 t 0",
        b"1 2 3 4 t 0\n",
        b"1 2 3 4 a/b 0",
        b"1 2 3 4 t -1",
        "1 2 3 \u0664 t 0".encode(),
        b"\xff\xfe",
        b"1" * 1000,
    ],
)
def test_a_header_that_no_node_writes_says_nothing(value: bytes | None) -> None:
    assert HandedOn.read(value) is None


def test_the_header_comes_back_as_it_was_written() -> None:
    handed = HandedOn(2, 11, 10**17, UNIX_MS, "a.b-c_d", 3)
    assert HandedOn.read(handed.header()[1]) == handed


def test_place_and_time_are_those_of_the_first_append() -> None:
    came = incoming(record=FakeRecord(LANE, 3, 42, timestamp=UNIX_MS + 5))
    assert came.to_hand_on(hops=1) == HandedOn(1, 3, 42, UNIX_MS + 5, LANE)
    came.handed_on = HandedOn(1, 0, 7, UNIX_MS, LANE, 1)
    assert (came.source, came.asked_ms) == (Source(LANE, 0, 7), UNIX_MS)
    assert came.to_hand_on(retries=1) == HandedOn(1, 0, 7, UNIX_MS, LANE, 2)
    came.handed_on = HandedOn(1, 0, 7, UNIX_MS + 3_600_000, LANE)
    assert came.asked_ms == UNIX_MS + 5, "nobody gains time by it"


def test_what_is_read_here_of_the_lane_is_not_handed_to() -> None:
    settings = Settings()
    intake = Intake(settings.limits, lane_topics(settings))
    intake.assign((LANE, 1), 0, 0)
    intake.assign(("modelmora.requests.low", 2), 0, 0)
    written: list[tuple[Incoming, tuple[str, int], HandedOn]] = []
    ended: list[RequestError] = []

    class Writer:
        def hand_on(
            self,
            request: Incoming,
            to: tuple[str, int],
            told: HandedOn,
            otherwise: Callable[[], None],
        ) -> None:
            written.append((request, to, told))
            otherwise()

        def failed(
            self,
            request: Incoming,
            model: ModelKey,
            error: RequestError,
            timings: Timings,
            attempt: int,
        ) -> None:
            ended.append(error)

    hand_on = HandOn(leases(a=(1, 2)), intake, Writer())
    came = incoming(model="m", record=FakeRecord(LANE, 1, 0))
    assert hand_on(came, UNKNOWN) is None
    place = 1, 0, came.record.timestamp, LANE
    assert (written, hand_on.count) == ([(came, (LANE, 2), HandedOn(1, *place))], 1)
    assert ended == [UNKNOWN]
    came.handed_on = HandedOn(MOST_HOPS, 0, 0, 0, LANE)
    refused = hand_on(came, UNKNOWN)
    assert refused is not None
    assert refused.code is Code.CANNOT_BE_SERVED
    assert len(written) == 1
