"""Whoever writes to the topics, and whatever they say they are: what is told is told as theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from modelmora.access.signing import Signer, Verifier
from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.places import Outcomes
from modelmora.agents.requests import LostRecord, Requests
from modelmora.agents.results import Results
from modelmora.deadletters.letters import original_headers
from modelmora.errors import Code, RequestError
from modelmora.kafka.batches import Batch
from modelmora.kafka.reading.reader import Record as Read
from modelmora.kafka.requests import request_record
from modelmora.kafka.topics import read_topics
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import InferenceRequest, Lane, Source, Status, Timings
from modelmora.messages.headers import RUN, principal_of
from modelmora.scheduling import Policy
from modelmora.serving import BrokerClock, Incoming, Service
from modelmora.serving.request import read_at
from modelmora.settings import Limits, Settings
from modelmora.testing.fakes import FakeReader, FakeRecord, FakeSender, FakeTime
from modelmora.wire import content_digest, decode_job, decode_request_head, decode_result
from modelmora.wire.handed import HandedOn
from modelmora.wire.plainjson import encode_json
from tests.unit.serving.rig import model

SECRET = b"s" * 32
SIGNER = Signer(SECRET)
Headers = tuple[tuple[str, bytes | None], ...]
ALICE: Headers = (("modelmora-principal", b"alice"),)
JOB = ("modelmora-job", b"1")
ASKED = InferenceRequest("r1", "echo", ("a text",))
LIMIT = 5000


class Desk:
    """A node that asks for proofs, up to its scheduler, and all that it writes."""

    def __init__(self, secret: bytes = SECRET) -> None:
        settings = Settings(namespace="ns", limits=Limits(request_bytes=LIMIT))
        self.sender, self.teller = FakeSender(), FakeSender()
        self.intake = Intake(settings.limits, read_topics(settings))
        for topic in read_topics(settings):
            self.intake.assign((topic, 0), 0, 0)
        clock, lifecycle = BrokerClock(FakeTime()), Lifecycle(self.sender, "n1", "ns")
        parts = (self.sender, self.teller, self.intake, clock, lifecycle, "ns", None, None)
        self.results = Results(*parts, Signer(secret))
        self.service = Service(self.results, clock, Policy(), 60_000)
        self.service.catalogue.replace([model("echo")])
        self.taken: list[Incoming] = []
        self.service._line_up = lambda work, *_: self.taken.append(work.meta)  # type: ignore[method-assign]
        verifier = Verifier([secret])
        given = (settings, self.intake, self.service, self.results, clock)
        self.requests = Requests(*given, verifier=verifier)
        self.requests.reader = FakeReader()
        self.offset = 0

    async def read(
        self, value: bytes | None, headers: Headers, topic: str = "requests.normal"
    ) -> FakeRecord:
        """One record at the end of its topic."""
        record = FakeRecord(f"ns.{topic}", 0, self.offset, value=value, headers=headers)
        await self.requests.on_batch(Batch((record.topic, 0), 0, self.offset, [record]))
        return record

    def outcomes(self) -> list[tuple[str, str, str]]:
        """Of all that was told: the principal, the id and the code."""
        self.sender.acknowledge_all()
        told = [each for each in self.sender.sent if each.topic == "ns.results"]
        results = [(principal_of(each.headers), decode_result(each.value)) for each in told]
        return [(who, r.request_id, r.error.code if r.error else "") for who, r in results]

    def on(self, topic: str) -> list[Outgoing]:
        self.sender.acknowledge_all()
        return [each for each in self.sender.sent if each.topic == f"ns.{topic}"]


@pytest.fixture
async def desk() -> Desk:
    return Desk()


def signed(
    request: InferenceRequest = ASKED, headers: Headers = ALICE, signer: Signer = SIGNER
) -> Outgoing:
    settings = Settings(namespace="ns")
    given: Any = headers
    return request_record(request, Lane.NORMAL, settings, given, None, signer)


async def test_what_is_signed_is_asked_as_its_principal(desk: Desk) -> None:
    record = signed()
    await desk.read(record.value, (*record.headers, JOB))
    (request,) = desk.taken
    assert (request.principal, request.forged) == ("alice", False)
    desk.results.completed(request, ("echo", "1"), b"\x00", {}, Timings(), 1)
    assert desk.outcomes() == [("alice", "r1", "")]
    (note,) = desk.on("jobs")
    assert decode_job(note.value).principal == "alice"
    desk.results.started(request, ("echo", "1"))
    assert principal_of(desk.teller.sent[-1].headers) == "alice"


async def test_what_is_unsigned_is_told_of_as_nobody_elses(desk: Desk) -> None:
    """With the id of a request of alice's, and in her name: outcome, note and progress."""
    await desk.read(signed().value, (*ALICE, JOB))
    (request,) = desk.taken
    assert request.principal == "topic:alice"
    head = decode_request_head(request.record.value)
    assert request.content == content_digest("topic:alice", head, request.record.value or b"")
    desk.results.completed(request, ("echo", "1"), b"\x00", {}, Timings(), 1)
    desk.results.started(request, ("echo", "1"))
    assert desk.outcomes() == [("topic:alice", "r1", "")]
    (note,) = desk.on("jobs")
    assert decode_job(note.value).principal == "topic:alice"
    assert principal_of(desk.teller.sent[-1].headers) == "topic:alice"


async def test_who_names_nobody_is_unknown(desk: Desk) -> None:
    await desk.read(signed().value, ())
    assert [each.principal for each in desk.taken] == ["topic:unknown"]


@pytest.mark.parametrize(
    "changed",
    [
        InferenceRequest("r2", "echo", ("a text",)),
        InferenceRequest("r1", "echo", ("another",)),
        InferenceRequest("r1", "echo", ("a text",), parameters={"ms": 5.0}),
        InferenceRequest("r1", "echo", ("a text",), timeout_ms=1),
        InferenceRequest("r1", "none", ("a text",)),
    ],
)
async def test_a_copied_signature_is_refused(desk: Desk, changed: InferenceRequest) -> None:
    unsigned = request_record(changed, Lane.NORMAL, Settings(namespace="ns"), ())
    record = await desk.read(unsigned.value, tuple(signed().headers))
    assert desk.taken == []
    assert desk.outcomes() == [("topic:alice", changed.request_id, Code.FORBIDDEN)]
    (told,) = desk.on("results")
    assert decode_result(told.value).status is Status.REFUSED
    assert desk.on("dead-letters") == []
    assert not desk.intake.owes(record)


@pytest.mark.parametrize("topic", ["requests.critical", "requests.low", "retry.30s"])
async def test_a_copied_request_is_refused_in_another_lane(desk: Desk, topic: str) -> None:
    record = signed()
    if topic.startswith("retry"):
        desk.requests._delays.clear()
    await desk.read(record.value, tuple(record.headers), topic)
    assert desk.outcomes() == [("topic:alice", "r1", Code.FORBIDDEN)]


@pytest.mark.parametrize("more", [("modelmora-or-busy", b""), ("kafka_replyTopic", b"mine")])
async def test_a_copy_is_not_answered_otherwise_or_elsewhere(
    desk: Desk, more: tuple[str, bytes]
) -> None:
    record = signed()
    await desk.read(record.value, (*record.headers, more))
    assert desk.outcomes() == [("topic:alice", "r1", Code.FORBIDDEN)]


# What is no request ------------------------------------------------------------------------------


async def test_what_cannot_be_read_is_told_of_as_nobody_elses(desk: Desk) -> None:
    """Else garbage behind a known id would end a call that waits for it."""
    record = signed()
    await desk.read((record.value or b"") + b"x", (*record.headers, JOB))
    assert desk.outcomes() == [("topic:alice", "r1", Code.TRAILING_BYTES)]
    (note,) = desk.on("jobs")
    assert decode_job(note.value).principal == "topic:alice"


async def test_what_is_too_large_is_told_to_who_has_signed_it(desk: Desk) -> None:
    large = InferenceRequest("r1", "echo", ("x" * LIMIT,))
    record = signed(large)
    await desk.read(record.value, tuple(record.headers))
    desk.offset = 1
    await desk.read(record.value, ALICE)
    outcomes = desk.outcomes()
    assert outcomes == [(each, "r1", Code.TOO_LARGE) for each in ("alice", "topic:alice")]


async def test_our_own_failure_is_told_to_who_has_signed_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_request: Incoming) -> None:
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(desk.service, "accept", fail)
    record = signed()
    await desk.read(record.value, tuple(record.headers))
    assert desk.outcomes() == [("alice", "r1", Code.INFERENCE_FAILED)]


async def test_what_can_only_be_placed_is_nobodys(desk: Desk) -> None:
    desk.requests.on_record(LostRecord("ns.requests.normal", 0, 0, 0))
    assert desk.outcomes() == []
    assert len(desk.on("dead-letters")) == 1


# On its way --------------------------------------------------------------------------------------


async def handed_on(desk: Desk, take: Callable[[Desk, Incoming], None]) -> Outgoing:
    record = signed()
    await desk.read(record.value, tuple(record.headers))
    take(desk, desk.taken.pop())
    return desk.sender.sent[-1]


def to_low(desk: Desk, request: Incoming) -> None:
    to = ("ns.retry.30s", 0)
    desk.results.hand_on(request, to, request.to_hand_on(retries=1), lambda: None)


async def test_what_was_put_off_by_a_node_is_still_its_principals(desk: Desk) -> None:
    sent = await handed_on(desk, to_low)
    other = Desk()
    other.requests._delays.clear()
    await other.read(sent.value, tuple(sent.headers), "retry.30s")
    (request,) = other.taken
    assert (request.principal, request.lane, request.retries) == ("alice", Lane.NORMAL, 1)
    assert request.source == Source("ns.requests.normal", 0, 0)
    to_low(other, request)
    again = other.sender.sent[-1]
    names = [name for name, _ in again.headers]
    assert len(names) == len(set(names)), "nothing is there twice"


async def test_only_a_node_says_how_often_and_from_where(desk: Desk) -> None:
    """Else a copy could expire, or be refused, in the name of who is waiting."""
    record = signed()
    lie = HandedOn(3, 0, 0, 1, "ns.requests.normal", 99)
    await desk.read(record.value, (*record.headers, lie.header()))
    (request,) = desk.taken
    assert (request.principal, request.handed_on, request.retries) == ("alice", None, 0)


async def test_a_nodes_word_of_one_request_counts_for_no_other(desk: Desk) -> None:
    sent = await handed_on(desk, to_low)
    other = Desk()
    other.requests._delays.clear()
    ours = tuple(each for each in sent.headers if "handed-on" in each[0] or "read-at" in each[0])
    await other.read(
        signed(InferenceRequest("r2", "echo", ("a",))).value, (*ALICE, *ours), "retry.30s"
    )
    (request,) = other.taken
    assert request.handed_on is None
    assert request.source == Source("ns.retry.30s", 0, 0)


async def test_who_lies_of_where_a_request_was_read_hides_no_other(desk: Desk) -> None:
    """After a crash what was handed on counts as done where it lay."""
    sent = await handed_on(desk, to_low)
    there = Outcomes(is_told=Verifier([SECRET]).was_handed_on)
    place = ("ns.requests.normal", 0)
    told = FakeRecord("ns.retry.30s", 0, 1, value=sent.value, headers=sent.headers)
    there.take_handed_on(told, told.value)
    assert there.elsewhere[place] == {0: "r1"}
    lied = FakeRecord("ns.requests.normal", 0, 7)
    lie = FakeRecord("ns.retry.30s", 0, 2, value=sent.value, headers=(*ALICE, read_at(lied)))
    there.take_handed_on(lie, lie.value)
    assert there.elsewhere[place] == {0: "r1"}
    before = Outcomes()
    before.take_handed_on(lie, lie.value)
    assert before.elsewhere[place] == {7: "r1"}, "without proofs all is as it was"


async def test_a_dead_letter_that_is_put_back_is_still_its_principals(desk: Desk) -> None:
    record = signed()
    await desk.read(record.value, (*record.headers, JOB))
    (request,) = desk.taken
    error = RequestError(Code.WORKER_CRASH, "why")
    desk.results.failed(request, ("echo", "1"), error, Timings(), 1)
    (letter,) = desk.on("dead-letters")
    read = Read("ns.dead-letters", 0, 0, 0, letter.key, letter.value, tuple(letter.headers))
    other = Desk()
    await other.read(letter.value, (*original_headers(read), (RUN, b"2")))
    (again,) = other.taken
    assert (again.principal, again.run, again.forged) == ("alice", 2, False)


async def test_a_signed_request_in_json_is_its_principals(desk: Desk) -> None:
    value = json.dumps({"inputs": ["a"], "model": "echo", "request_id": "r9"}).encode()
    plain = encode_json(value, b"echo", (), Source("t", 0, 0), 1)
    head = decode_request_head(plain)
    signature = SIGNER.request(ALICE, head, Lane.NORMAL, content_digest("alice", head, plain))
    await desk.read(value, (*ALICE, signature))
    assert [(each.principal, each.forged) for each in desk.taken] == [("alice", False)]


async def test_a_secret_of_another_cluster_is_none_here(desk: Desk) -> None:
    record = signed(signer=Signer(b"z" * 32))
    await desk.read(record.value, tuple(record.headers))
    assert desk.outcomes() == [("topic:alice", "r1", Code.FORBIDDEN)]
    (told,) = desk.on("results")
    error = decode_result(told.value).error
    assert error
    assert "the cluster's secret" in error.message
