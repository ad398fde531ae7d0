"""Copies of requests: read when there is room, run behind all else, and told on `compare` alone."""

from __future__ import annotations

import asyncio

import pytest

from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.requests import Requests
from modelmora.agents.results import Results
from modelmora.agents.shadows import gate as gates
from modelmora.agents.shadows.gate import Gate
from modelmora.agents.shadows.outcomes import Apart, Compared
from modelmora.agents.shadows.share import Share
from modelmora.errors import Code
from modelmora.kafka.batches import Batch
from modelmora.kafka.topics import read_topics
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.kafka.writing.publisher import Refused, TooLarge
from modelmora.messages import InferenceRequest, Status
from modelmora.messages.headers import COMPARISON, SHADOW_OF, header_of, principal_of
from modelmora.scheduling import Policy
from modelmora.serving import BrokerClock, Service
from modelmora.settings import Settings, ShadowSettings
from modelmora.testing.fakes import (
    UNIX_MS,
    FakeReader,
    FakeRecord,
    FakeSender,
    FakeTime,
    FakeWorkers,
)
from modelmora.wire import decode_result, encode_request
from modelmora.wire.ids import shadow_id
from tests.unit.serving.rig import model

SHADOW = "ns.shadow"
ALL_OF_IT = ShadowSettings(share=1, kept_s=60)
Headers = tuple[tuple[str, bytes | None], ...]


class Desk:
    """A node with the model `echo@1` and children that are made up, and all that it writes."""

    def __init__(self, shadow: ShadowSettings = ALL_OF_IT) -> None:
        self.settings = Settings(namespace="ns", shadow=shadow)
        self.sender, self.teller, self.time = FakeSender(), FakeSender(), FakeTime()
        self.intake = Intake(self.settings.limits, read_topics(self.settings))
        for topic in read_topics(self.settings):
            self.intake.assign((topic, 0), 0, 0)
        self.clock = BrokerClock(self.time)
        lifecycle = Lifecycle(self.teller, "n1", "ns")
        results = Results(self.sender, self.teller, self.intake, self.clock, lifecycle, "ns")
        self.counted: list[tuple[Status, str]] = []
        results.on_outcome = lambda _, head: self.counted.append((head.status, head.model))
        self.ends: list[str] = []
        self.gate = Gate(shadow, self.intake, self.clock, self.ends.append, self.time)
        parts = (self.sender, self.intake, self.clock, "ns", self.gate, self.ends.append)
        self.apart = Apart(results, Compared(*parts), SHADOW)
        policy = Policy(groups_per_replica=1)
        self.service = Service(self.apart, self.clock, policy, 60_000, self.time)
        self.workers = FakeWorkers(self.service.listener)
        self.service.use(self.workers)
        self.service.serve([model("echo")])
        given = (self.settings, self.intake, self.service, self.apart, self.clock)
        self.requests = Requests(*given, gate=self.gate)
        self.requests.reader = FakeReader()
        self.firsts = 0
        self.offsets: dict[str, int] = {}

    async def read(
        self,
        original: str = "r1",
        topic: str = SHADOW,
        *,
        asked: str = "echo@1",
        comparison: str = "c1",
        value: bytes | None = None,
        headers: Headers = (),
        age_s: float = 0.0,
    ) -> FakeRecord:
        """One record at the end of its topic."""
        request_id = shadow_id(original, "1") if topic == SHADOW else original
        told: Headers = headers
        if topic == SHADOW:
            copy = ((SHADOW_OF, original.encode()), (COMPARISON, comparison.encode()))
            told = (*copy, *headers)
        value = value or encode_request(InferenceRequest(request_id, asked, ("a text",)))
        offset = self.offsets.get(topic, 0)
        self.offsets[topic] = offset + 1
        stamp = round(UNIX_MS + (self.time.now - 1000 - age_s) * 1000)
        record = FakeRecord(topic, 0, offset, 0, stamp, b"echo", value, told)
        self.clock.acknowledged(round(UNIX_MS + (self.time.now - 1000) * 1000), (topic, 0))
        await self.requests.on_batch(Batch((topic, 0), 0, offset, [record]))
        return record

    async def answered(self) -> None:
        """The latest group is answered, and who waits for that has had a turn."""
        self.workers.answer(len(self.workers.groups) - 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def ran(self) -> list[str]:
        return [work.request_id for group in self.workers.groups for work in group.works]

    def on(self, topic: str) -> list[Outgoing]:
        self.sender.acknowledge_all()
        return [each for each in self.sender.sent if each.topic == f"ns.{topic}"]

    def ready(self) -> None:
        self.service.load(("echo", "1"))
        self.workers.loaded()


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    desk.ready()
    return desk


async def test_a_copy_is_answered_on_compare_and_nowhere_else(desk: Desk) -> None:
    job: Headers = (("modelmora-job", b"1"), ("modelmora-gateway", b"g"))
    reply: Headers = (("kafka_replyTopic", b"replies"),)
    record = await desk.read(headers=(*job, *reply, ("modelmora-principal", b"alice")))
    await desk.answered()
    (told,) = desk.on("compare")
    result = decode_result(told.value)
    assert (result.request_id, result.status) == (shadow_id("r1", "1"), Status.COMPLETED)
    assert (result.model, result.version) == ("echo", "1")
    assert told.key == b"r1"
    assert principal_of(told.headers) == "alice"
    headers = [header_of(told.headers, name) for name in (SHADOW_OF, COMPARISON)]
    assert headers == [b"r1", b"c1"]
    assert len(desk.sender.sent) == 1
    assert [each for each in desk.teller.sent if each.topic != "ns.events"] == []
    assert desk.counted == []
    assert not desk.intake.owes(record)
    assert desk.ends == ["completed"]


async def test_one_that_asks_to_be_told_is_told_nothing(desk: Desk) -> None:
    asked = InferenceRequest("copy", "echo@1", ("a",), progress=True)
    await desk.read(value=encode_request(asked))
    request_id = desk.ran()
    await desk.answered()
    assert request_id == ["copy"]
    assert [each for each in desk.teller.sent if each.topic != "ns.events"] == []


async def test_a_copy_that_fails_is_told_on_compare_alone(desk: Desk) -> None:
    record = await desk.read(asked="nobody@1")
    (told,) = desk.on("compare")
    error = decode_result(told.value).error
    assert error is not None
    assert error.code is Code.UNKNOWN_MODEL
    assert header_of(told.headers, "modelmora-error-code") == b"unknown_model"
    assert len(desk.sender.sent) == 1
    assert not desk.intake.owes(record)


@pytest.mark.parametrize("told", [True, False])
async def test_what_is_no_request_is_told_only_to_who_compares(desk: Desk, told: bool) -> None:
    value = (
        b"\x00 nothing"
        if not told
        else encode_request(InferenceRequest("copy", "echo@1", ("a",), parameters={"x": 1}))
        + b"trailing"
    )
    record = await desk.read(value=value)
    assert len(desk.on("compare")) == told
    assert len(desk.sender.sent) == told
    assert not desk.intake.owes(record)
    assert desk.ends == ["failed" if told else "no_copy"]


async def test_a_record_that_is_nobodys_copy_is_dropped(desk: Desk) -> None:
    value = encode_request(InferenceRequest("r1", "echo@1", ("a",)))
    record = FakeRecord(SHADOW, 0, 0, value=value)
    await desk.requests.on_batch(Batch((SHADOW, 0), 0, 0, [record]))
    assert (desk.ran(), desk.sender.sent, desk.ends) == ([], [], ["no_copy"])
    assert not desk.intake.owes(record)


async def test_the_headers_of_a_copy_mean_nothing_on_a_lane(desk: Desk) -> None:
    headers: Headers = ((SHADOW_OF, b"other"), (COMPARISON, b"live"))
    await desk.read("r1", "ns.requests.normal", headers=headers)
    await desk.answered()
    assert len(desk.on("results")) == 1
    assert desk.on("compare") == []


async def test_one_after_the_other_and_behind_what_waits(desk: Desk) -> None:
    await desk.read("r1")
    await desk.read("r2")
    await desk.read("a", "ns.requests.low")
    await desk.read("b", "ns.requests.low", asked="echo")
    first, second = shadow_id("r1", "1"), shadow_id("r2", "1")
    assert desk.ran() == [first]
    await desk.answered()
    assert desk.ran() == [first, "a", "b"], "those who wait, and in no group with a copy"
    await desk.answered()
    desk.requests.regate()
    assert desk.ran() == [first, "a", "b", second]


async def test_a_copy_waits_for_its_share(desk: Desk) -> None:
    desk.gate._share = Share(0.1)
    desk.gate._share.spend(1500)  # half a second more than was saved
    await desk.read()
    assert desk.ran() == []
    desk.time.now += 4.9
    desk.requests.regate()
    assert desk.ran() == []
    desk.time.now += 0.2
    desk.requests.regate()
    assert desk.ran() == [shadow_id("r1", "1")]


async def test_what_a_copy_has_computed_is_paid(desk: Desk) -> None:
    desk.gate._share = Share(0.001)
    desk.gate._share.spend(999.5)
    for name in ("r1", "r2"):
        await desk.read(name)
    await desk.answered()  # 1 ms
    assert len(desk.ran()) == 1
    desk.time.now += 0.6
    desk.requests.regate()
    assert len(desk.ran()) == 2


async def test_it_pays_for_all_the_time_that_it_was_under_way(desk: Desk) -> None:
    desk.gate._share = Share(0.1)
    for name in ("r1", "r2"):
        await desk.read(name)
    desk.time.now += 2.0  # a tenth of which is earned, beyond what was saved
    await desk.answered()
    desk.time.now += 7.9
    desk.requests.regate()
    assert len(desk.ran()) == 1
    desk.time.now += 3
    desk.requests.regate()
    assert len(desk.ran()) == 2


async def test_without_a_share_none_is_run() -> None:
    desk = Desk(ShadowSettings(share=0, kept_s=60))
    desk.ready()
    record = await desk.read()
    desk.time.now += 59
    desk.requests.regate()
    assert desk.intake.owes(record)
    desk.time.now += 2
    desk.requests.regate()
    assert (desk.ran(), desk.ends) == ([], ["late"])
    assert not desk.intake.owes(record)


async def test_time_begins_when_a_copy_is_let_in(desk: Desk) -> None:
    asked = InferenceRequest("copy", "echo@1", ("a",), timeout_ms=1000)
    await desk.read(value=encode_request(asked), age_s=50)
    await desk.answered()
    (told,) = desk.on("compare")
    result = decode_result(told.value)
    assert result.error is None
    assert result.timings.total_ms < 1000


async def test_a_careful_node_drops_them_for_they_would_hold_up_requests(desk: Desk) -> None:
    records = [await desk.read(name) for name in ("r1", "r2")]
    desk.gate.careful = lambda: True
    await desk.answered()
    third = await desk.read("r3")
    assert desk.ends == ["completed", "careful", "careful"]
    desk.sender.acknowledge_all()
    assert not any(desk.intake.owes(each) for each in (*records, third))


async def test_the_same_copy_is_run_once_and_for_each_comparison(desk: Desk) -> None:
    await desk.read()
    second = await desk.read()
    assert not desk.intake.owes(second)
    await desk.answered()
    third = await desk.read()
    assert not desk.intake.owes(third)
    assert desk.ends == ["second", "completed", "second"]
    await desk.read(comparison="c2")
    assert len(desk.ran()) == 2


async def test_few_wait_in_memory_and_all_are_run(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "MOST_OF_ONE", 2)
    names = ("r1", "r2", "r3", "r4")
    for name in names:
        await desk.read(name)
    assert desk.intake.gated == {(SHADOW, 0)}
    assert desk.intake.next_offset((SHADOW, 0)) == 3  # one runs, two wait
    await desk.answered()
    desk.time.now += 1
    desk.requests.regate()
    assert desk.intake.gated == set()
    desk.offsets[SHADOW] = 3
    await desk.read("r4")
    for _ in names[1:]:
        await desk.answered()
    assert desk.ran() == [shadow_id(name, "1") for name in names]


async def test_what_is_dropped_with_its_partition_may_come_again(desk: Desk) -> None:
    await desk.read("r1")
    await desk.read("r2")
    desk.requests.drop({(SHADOW, 0)})
    desk.intake.revoke([(SHADOW, 0)])
    desk.requests.regate()
    await desk.answered()  # to nobody
    desk.intake.assign((SHADOW, 0), 0, 0)
    desk.offsets.clear()
    await desk.read("r1")
    await desk.read("r2")
    assert desk.ends == []
    await desk.answered()
    await desk.answered()
    assert len(desk.on("compare")) == 2


async def test_one_model_that_cannot_begin_holds_up_no_other(desk: Desk) -> None:
    spec, entry = model("sleep")
    desk.service.serve([model("echo"), (spec, entry)])
    desk.workers.loads.clear()
    await desk.read("r1", asked="sleep@1")  # to be loaded
    await desk.read("r2")
    assert desk.ran() == [shadow_id("r2", "1")]


async def test_outputs_that_no_record_takes_are_said_to_be_too_large(desk: Desk) -> None:
    record = await desk.read()
    await desk.answered()
    (sent,) = desk.sender.waiting
    desk.sender.waiting.clear()
    sent.done(TooLarge())
    (told,) = desk.sender.waiting
    error = decode_result(told.value).error
    assert error is not None
    assert error.code is Code.TOO_LARGE
    told.done(TooLarge())
    assert not desk.intake.owes(record)


async def test_a_topic_that_takes_nothing_holds_nothing_up(desk: Desk) -> None:
    record = await desk.read()
    await desk.answered()
    (sent,) = desk.sender.waiting
    assert sent.optional
    sent.done(Refused("there is no such topic"))
    assert not desk.intake.owes(record)
    assert desk.ends == ["completed", "not_written"]


async def test_a_copy_is_a_first_try_of_nobody(desk: Desk) -> None:
    tries: list[None] = []
    desk.requests.on_first = lambda: tries.append(None)
    await desk.read()
    assert tries == []
    await desk.read("a", "ns.requests.low")
    assert len(tries) == 1


async def test_it_is_handed_on_within_its_own_topic(desk: Desk) -> None:
    handed: Headers = (("modelmora-handed-on", f"1 3 7 {UNIX_MS} {SHADOW} 0".encode()),)
    lane: Headers = (("modelmora-handed-on", f"1 3 7 {UNIX_MS} ns.requests.low 0".encode()),)
    await desk.read("r1", headers=handed)
    await desk.answered()
    await desk.read("r2", headers=lane)
    await desk.answered()
    first, second = (decode_result(each.value).source for each in desk.on("compare"))
    assert (first.topic, first.partition, first.offset) == (SHADOW, 3, 7)
    assert (second.topic, second.partition, second.offset) == (SHADOW, 0, 1), "it lies"
    await desk.read("r3", "ns.requests.low", headers=handed)
    await desk.answered()
    assert decode_result(desk.on("results")[0].value).source.topic == "ns.requests.low"
