"""Files and batches before a hall that is none, asked by OpenAI's own client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from modelmora.errors import Code
from modelmora.gateway.batches import driver as driving
from modelmora.gateway.batches import register as registering
from modelmora.gateway.batches import running
from modelmora.gateway.batches.driver import Driver
from modelmora.gateway.caller import LOCAL
from modelmora.gateway.doors.batches.paths import OpenAiPaths
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.hall import Ask
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.guard import Guard
from modelmora.gateway.shelf import Shelf
from modelmora.messages import BatchRecord, Lane
from modelmora.objects import Objects
from modelmora.objects.folder import FolderStore
from modelmora.settings.objects import ObjectSettings
from modelmora.web.problems import DoorCode
from tests.unit.gateway.fakes import FakeHall, register_of

CHAT: Any = "/v1/chat/completions"
CAP_S = 30
Log = list[BatchRecord]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "LOOK_S", 0.02)
    monkeypatch.setattr(driving, "SILENT_S", 0.3)
    monkeypatch.setattr(running, "BEAT_S", 0.05)
    monkeypatch.setattr(running, "PAUSE_S", (0.01, 0.02))


@pytest.fixture
def log() -> Log:
    return []


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects", 1 << 30)


def hall_of(store: FolderStore, log: Log) -> FakeHall:
    hall = FakeHall(outputs=("one two",))
    hall.shelf = Shelf(Objects(store, ObjectSettings()))
    hall.batches = register_of(hall.shelf, log)
    return hall


@pytest.fixture
def hall(store: FolderStore, log: Log) -> FakeHall:
    return hall_of(store, log)


@asynccontextmanager
async def driven(hall: FakeHall, name: str = "g1") -> AsyncIterator[Driver]:
    driver = Driver(hall, hall.batches, OpenAiPaths(), name, 10_000)
    driver.start()
    try:
        yield driver
    finally:
        await driver.stop()


@asynccontextmanager
async def asking(hall: FakeHall, who: str = LOCAL) -> AsyncIterator[openai.AsyncOpenAI]:
    class Known(Guard):
        async def principal(self, *_: object) -> str:
            return who

    guard = Known()
    app = create_app(hall, Metrics(), 100_000, guard)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    http: Any = httpx.AsyncClient(transport=transport, base_url="http://gateway/v1")
    async with http:
        yield openai.AsyncOpenAI(
            base_url="http://gateway/v1", api_key="none", http_client=http, max_retries=0
        )


@pytest.fixture
async def client(hall: FakeHall) -> AsyncIterator[openai.AsyncOpenAI]:
    async with asking(hall) as client:
        yield client


def line(number: int, model: str = "echo", **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": f"say {number}"}], **more}
    return {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": body}


def jsonl(*lines: Any) -> bytes:
    return b"".join(
        (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in lines
    )


async def begun(client: openai.AsyncOpenAI, content: bytes) -> Any:
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"of": "mine"}
    )


async def ended(client: openai.AsyncOpenAI, batch_id: str) -> Any:
    async with asyncio.timeout(CAP_S):
        while True:
            batch = await client.batches.retrieve(batch_id)
            if batch.status not in ("validating", "in_progress", "cancelling", "finalizing"):
                return batch
            await asyncio.sleep(0.01)


async def rows(client: openai.AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id
    text = (await client.files.content(file_id)).text
    return [json.loads(each) for each in text.splitlines()]


async def test_a_file_is_kept_and_told_of(client: openai.AsyncOpenAI) -> None:
    content = jsonl(line(1)) * 3
    made = await client.files.create(file=("in.jsonl", content), purpose="batch")
    assert (made.filename, made.bytes, made.purpose) == ("in.jsonl", len(content), "batch")
    assert (await client.files.retrieve(made.id)).id == made.id
    assert [each.id async for each in client.files.list()] == [made.id]
    assert (await client.files.content(made.id)).content == content
    assert (await client.files.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.content(made.id)


async def test_lines_are_answered_as_their_path_answers(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    batch = await begun(client, jsonl(*(line(each, seed=1) for each in range(200))))
    assert (batch.status, batch.metadata) == ("validating", {"of": "mine"})
    async with driven(hall):
        batch = await ended(client, batch.id)
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed) == (200, 200)
    assert batch.error_file_id is None
    found = await rows(client, batch.output_file_id)
    assert [each["custom_id"] for each in found] == [f"c{each}" for each in range(200)]
    first = found[0]["response"]
    assert first["status_code"] == 200
    assert first["body"]["choices"][0]["message"]["content"] == "one two"
    assert {(ask.lane, ask.job, ask.new, ask.door) for ask in hall.asks} == {
        (Lane.LOW, True, True, "batches")
    }
    assert len({ask.request_id for ask in hall.asks}) == 200
    assert [each.id async for each in client.batches.list(limit=1)] == [batch.id]


async def test_what_is_refused_is_in_the_error_file(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    lines = [line(1), line(2, "nothing"), line(3, odd=1), line(4, stream=True), line(5, n=3)]
    batch = await begun(client, jsonl(*lines))
    async with driven(hall):
        batch = await ended(client, batch.id)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 3)
    good = await rows(client, batch.output_file_id)
    assert [len(each["response"]["body"]["choices"]) for each in good] == [1, 3]
    bad = await rows(client, batch.error_file_id)
    told = [(each["custom_id"], each["response"]["status_code"]) for each in bad]
    assert told == [("c2", 404), ("c3", 400), ("c4", 400)]
    assert bad[0]["response"]["body"]["error"]["code"] == "unknown_model"
    assert len({ask.request_id for ask in hall.asks}) == 5


@pytest.mark.parametrize(
    ("content", "code", "at"),
    [
        (b"", "empty_file", None),
        (b"\n \n", "empty_file", None),
        (jsonl(line(1), b"{"), "invalid_json_line", 2),
        (jsonl(line(1), b'{"custom_id": "\xff"}'), "invalid_json_line", 2),
        (jsonl(line(1), line(2), line(1)), "duplicate_custom_id", 3),
        (jsonl([1]), "invalid_request", 1),
        (jsonl({**line(1), "custom_id": 1}), "invalid_custom_id", 1),
        (jsonl({**line(1), "method": "GET"}), "invalid_method", 1),
        (jsonl({**line(1), "url": "/v1/embeddings"}), "mismatched_endpoint", 1),
        (jsonl({**line(1), "body": "x"}), "invalid_request", 1),
        (jsonl(line(1), line(2, user="x" * 20_000)), "line_too_large", 2),
    ],
)
async def test_what_is_no_batch_fails_before_any_of_it_is_asked(
    hall: FakeHall, client: openai.AsyncOpenAI, content: bytes, code: str, at: int | None
) -> None:
    batch = await begun(client, content)
    async with driven(hall):
        batch = await ended(client, batch.id)
    assert (batch.status, batch.output_file_id) == ("failed", None)
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == (code, at)
    assert hall.asks == []


async def test_others_see_nothing_of_it(hall: FakeHall, client: openai.AsyncOpenAI) -> None:
    batch = await begun(client, jsonl(line(1)))
    async with driven(hall):
        batch = await ended(client, batch.id)
    async with asking(hall, "bob") as bob:
        for file_id in (batch.input_file_id, batch.output_file_id):
            with pytest.raises(openai.NotFoundError):
                await bob.files.content(file_id)
            with pytest.raises(openai.NotFoundError):
                await bob.files.delete(file_id)
        with pytest.raises(openai.NotFoundError):
            await bob.batches.create(
                input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
            )
        with pytest.raises(openai.NotFoundError):
            await bob.batches.cancel(batch.id)
        assert [each async for each in bob.files.list()] == []
        assert [each async for each in bob.batches.list()] == []


async def test_what_may_be_mended_is_tried_again(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    refusals: list[Exception] = [
        Refusal(DoorCode.NO_NODE, "none"),
        Refusal(Code.BUSY, "later"),
        Refusal(DoorCode.GONE, "its result is gone"),
    ]
    asks: list[Ask] = []

    def refuses(ask: Ask) -> bool:
        asks.append(ask)
        if refusals:
            raise refusals.pop(0)
        return False

    hall.refuses = refuses
    batch = await begun(client, jsonl(line(1)))
    async with driven(hall):
        batch = await ended(client, batch.id)
    assert batch.request_counts.completed == 1
    assert [ask.new for ask in asks] == [True, False, False, False]
    # What was not written is asked by its id; what has ended so, by another.
    assert asks[0].request_id == asks[1].request_id
    assert len({ask.request_id for ask in asks}) == 3


async def test_another_gateway_goes_on_by_the_same_ids(
    hall: FakeHall,
    store: FolderStore,
    log: Log,
    client: openai.AsyncOpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "PART_LINES", 10)
    monkeypatch.setattr(running, "WINDOW", 4)
    batch = await begun(client, jsonl(*(line(each) for each in range(25))))
    hall.blocked, reached = asyncio.Event(), asyncio.Event()
    hall.blocked.set()

    def block(ask: Ask) -> bool:
        if len(hall.asks) == 14 and hall.blocked:
            hall.blocked.clear()
        if len(hall.asks) == 17:
            reached.set()
        return False

    hall.refuses = block
    one = Driver(hall, hall.batches, OpenAiPaths(), "g1", 10_000)
    one.start()
    async with asyncio.timeout(CAP_S):
        await reached.wait()
    # Killed: nothing more is told, and nothing is given back.
    assert one._task
    for task in (one._task, *(task for _, task in one._running.values())):
        task.cancel()
    other = hall_of(store, [])
    for record in log:
        other.batches.take(record)
    async with asking(other) as there, driven(other, "g2"):
        found = await ended(there, batch.id)
        assert found.request_counts.completed == 25
        answered = await rows(there, found.output_file_id)
    assert [each["custom_id"] for each in answered] == [f"c{each}" for each in range(25)]
    # The first part is done; of the second all were asked with a look behind, of the third none.
    assert [ask.new for ask in other.asks] == [False] * 10 + [True] * 5
    before = [ask.request_id for ask in hall.asks[10:]]
    assert [ask.request_id for ask in other.asks[: len(before)]] == before


async def test_two_that_claim_a_batch_do_not_both_work_on_it(
    hall: FakeHall, store: FolderStore, client: openai.AsyncOpenAI, log: Log
) -> None:
    other = hall_of(store, log)

    async def write(record: BatchRecord) -> None:
        log.append(record)
        for each in (hall, other):
            each.batches.take(record)

    hall.batches._write = other.batches._write = write
    batch = await begun(client, jsonl(*(line(each) for each in range(50))))
    async with driven(hall, "g1"), driven(other, "g2"):
        await ended(client, batch.id)
    assert sorted((len(hall.asks), len(other.asks))) == [0, 50]


async def test_a_cancelled_batch_takes_back_what_runs(
    hall: FakeHall, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "WINDOW", 3)
    hall.blocked = asyncio.Event()
    taken: list[str] = []

    async def cancel(request_id: str) -> Any:
        taken.append(request_id)
        hall.refusal = Refusal(Code.CANCELLED, "cancelled")
        assert hall.blocked
        hall.blocked.set()

    monkeypatch.setattr(hall, "cancel", cancel)
    batch = await begun(client, jsonl(*(line(each) for each in range(9))))
    async with driven(hall):
        await hall.entered.wait()
        assert (await client.batches.cancel(batch.id)).status == "cancelling"
        batch = await ended(client, batch.id)
    assert batch.status == "cancelled"
    assert {*taken} == {ask.request_id for ask in hall.asks}
    bad = await rows(client, batch.error_file_id)
    assert [each["error"]["code"] for each in bad] == ["batch_cancelled"] * 9
    with pytest.raises(openai.ConflictError):
        await client.batches.cancel(batch.id)


async def test_a_batch_expires(
    hall: FakeHall, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await begun(client, jsonl(line(1)))
    made = registering.now_ms
    monkeypatch.setattr(running, "now_ms", lambda: made() + 86_400_000)
    async with driven(hall):
        batch = await ended(client, batch.id)
    assert batch.status == "expired"
    bad = await rows(client, batch.error_file_id)
    assert bad[0]["error"]["code"] == "batch_expired"


async def test_a_deleted_input_is_read_by_the_batch_at_work_on_it(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    batch = await begun(client, jsonl(line(1)))
    await client.files.delete(batch.input_file_id)
    async with driven(hall):
        assert (await ended(client, batch.id)).status == "completed"


async def test_an_input_that_is_lost_fails_the_batch(
    hall: FakeHall, client: openai.AsyncOpenAI, store: FolderStore
) -> None:
    batch = await begun(client, jsonl(line(1)))
    store.sweep(1 << 40)
    async with driven(hall):
        batch = await ended(client, batch.id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "gone")


async def test_equal_files_are_deleted_one_by_one(client: openai.AsyncOpenAI) -> None:
    one, two = [
        await client.files.create(file=("in.jsonl", jsonl(line(1))), purpose="batch")
        for _ in range(2)
    ]
    await client.files.delete(one.id)
    assert (await client.files.content(two.id)).content == jsonl(line(1))
