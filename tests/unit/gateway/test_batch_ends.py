"""Batches end, whatever does not come: nodes, the store, what was told of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest

from modelmora.access.rights import Rule, Told, Verb
from modelmora.errors import Code
from modelmora.gateway.batches import register as registering
from modelmora.gateway.batches import running
from modelmora.gateway.batches.driver import Driver
from modelmora.gateway.caller import LOCAL
from modelmora.gateway.doors.batches.paths import OpenAiPaths
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.permits import Permits
from modelmora.gateway.rights.permitted import Permitted
from modelmora.messages import BatchRecord, ObjectRef
from modelmora.records.ruling import Ruling
from tests.unit.gateway.fakes import FakeHall
from tests.unit.gateway.test_batches import (
    begun,
    client,
    driven,
    ended,
    hall,
    jsonl,
    line,
    log,
    quick,
    rows,
    store,
)

__all__ = ["client", "hall", "log", "quick", "store"]


async def test_a_batch_expires_though_no_node_tells_of_its_lines(
    hall: FakeHall, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall.blocked = asyncio.Event()
    batch = await begun(client, jsonl(line(1)))
    made = registering.now_ms
    monkeypatch.setattr(running, "LATE_S", 0.01)
    monkeypatch.setattr(running, "now_ms", lambda: made() + 86_400_000 - 1500)
    async with driven(hall):
        batch = await ended(client, batch.id)
    assert batch.status == "expired"
    bad = await rows(client, batch.error_file_id)
    assert bad[0]["error"]["code"] == "batch_expired"


async def test_lines_that_its_principal_may_not_ask_any_more_are_refused_one_by_one(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    hall.registry.register("other", "txt2txt")
    hall.answers["other"] = ("one",)
    batch = await begun(client, jsonl(line(1), line(2, "other"), line(3)))
    only = Told({"r": (Rule(verbs=(Verb.INFER,), models=("other",)),)}, {LOCAL: ("r",)})
    permits = Permits(Ruling(only, hall.registrar.state))
    driver = Driver(Permitted(hall, permits, Metrics()), hall.batches, OpenAiPaths(), "g1", 10_000)
    driver.start()
    batch = await ended(client, batch.id)
    await driver.stop()
    assert batch.status == "completed"
    (good,) = await rows(client, batch.output_file_id)
    assert good["custom_id"] == "c2"
    bad = await rows(client, batch.error_file_id)
    told = [(e["custom_id"], e["response"]["status_code"]) for e in bad]
    assert told == [("c1", 403), ("c3", 403)]
    assert bad[0]["response"]["body"]["error"]["code"] == "forbidden"
    assert {ask.model for ask in hall.asks} == {"other"}


async def test_a_batch_is_cancelled_though_the_store_is_away(
    hall: FakeHall, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def away(_ref: ObjectRef) -> AsyncIterator[bytes]:
        tried.set()
        raise Refusal(Code.STORE_UNAVAILABLE, "it is away")
        yield b""

    batch = await begun(client, jsonl(line(1)))
    monkeypatch.setattr(hall.shelf, "chunks", away)
    async with driven(hall):
        await tried.wait()
        await client.batches.cancel(batch.id)
        batch = await ended(client, batch.id)
    assert (batch.status, batch.errors.data[0].code) == ("cancelled", "store_unavailable")


async def test_a_batch_goes_on_while_others_are_forgotten(
    hall: FakeHall, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = hall.batches
    take = register.take

    def forgetting(record: BatchRecord) -> None:
        register.forget()
        take(record)

    monkeypatch.setattr(register, "take", forgetting)
    async with driven(hall):
        batch = await begun(client, jsonl(line(1), line(2)))
        done = await ended(client, batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 2)
