"""Dead letters and the audit at a gateway before a real broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.errors import Code
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.reading.shown import Reader
from modelmora.messages import InferenceRequest
from modelmora.settings import Settings
from modelmora.wire import decode_event, encode_request
from tests.integration.gateway.rig import CAP_S, running, settings_for

SECRET = "a secret text"


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    """A namespace of its own: whole topics are looked at here."""
    return settings_for(broker.bootstrap_servers, f"t{uuid.uuid4().hex[:12]}")


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway of a namespace in which no request is answered."""
    async with (
        running(settings) as gateway,
        httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S, trust_env=False) as client,
    ):
        yield client


def written(settings: Settings, topic: str, value: bytes, headers: Mapping[str, bytes]) -> str:
    """A record on the broker; its place."""
    places: list[str] = []
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    producer.produce(
        f"{settings.namespace}.{topic}",
        value,
        b"m",
        headers=dict(headers),
        on_delivery=lambda _, m: places.append(f"{m.topic()}:{m.partition()}:{m.offset()}"),
    )
    assert producer.flush(CAP_S) == 0
    return places[0]


def bury(settings: Settings, request_id: str, code: Code = Code.WORKER_CRASH) -> str:
    """A request, and its dead letter as a node writes it; the letter's place."""
    value = encode_request(InferenceRequest(request_id, "m", (SECRET,)))
    topic, partition, offset = written(settings, "requests.low", value, {}).rsplit(":", 2)
    headers = {
        "own": b"kept",
        "__connect.errors.topic": topic.encode(),
        "__connect.errors.partition": partition.encode(),
        "__connect.errors.offset": offset.encode(),
        "modelmora-error-code": code.encode(),
    }
    return written(settings, "dead-letters", value, headers)


async def records(settings: Settings, topic: str) -> list[Record]:
    def read() -> list[Record]:
        with Reader(settings) as reader:
            places = reader.places(f"{settings.namespace}.{topic}")
            return [*reader.read(reader.since(places, None))]

    return await asyncio.to_thread(read)


async def lying(settings: Settings, topic: str, place: str) -> Record | None:
    return next((each for each in await records(settings, topic) if each.place == place), None)


async def posted(door: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await door.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(door: httpx.AsyncClient, query: str = "") -> list[Any]:
    """All pages of one."""
    found: list[Any] = []
    cursor = ""
    while True:
        answer = (await door.get(f"/dead-letters?limit=1{query}{cursor}")).json()
        found += answer["dead_letters"]
        if answer["next"] is None:
            return found
        cursor = f"&cursor={answer['next']}"


async def marked(door: httpx.AsyncClient, count: int) -> dict[str, Any]:
    """What letters say of their replays, once so many do: readers see a commit a little later."""
    async with asyncio.timeout(CAP_S):
        while True:
            marks = {each["place"]: each["replayed"] for each in await listed(door)}
            if sum(map(bool, marks.values())) == count:
                return marks


async def test_letters_are_read_put_back_and_purged(
    settings: Settings, door: httpx.AsyncClient
) -> None:
    places = [await asyncio.to_thread(bury, settings, name) for name in ("one", "two", "three")]
    other = await asyncio.to_thread(bury, settings, "four", Code.RETRIES_SPENT)
    assert [each["place"] for each in await listed(door)] == [other, *places[::-1]]
    assert [each["place"] for each in await listed(door, "&code=retries_spent")] == [other]
    whole = (await door.get(f"/dead-letters/{places[0]}?content=true")).json()["dead_letters"]
    assert [each["request"]["inputs"] for each in whole] == [[SECRET]]

    dry = await posted(door, "/dead-letters/replay", which=["one"], dry_run=True)
    assert [each["to"] for each in dry["reruns"]] == [f"{settings.namespace}.requests.low"]
    (done,) = (await posted(door, "/dead-letters/replay", which=["one"]))["reruns"]
    await marked(door, 1)
    async with asyncio.timeout(CAP_S):
        while not (back := await lying(settings, "requests.low", done["to"])):
            pass
    assert (done["run"], back.header("modelmora-run"), back.header("own")) == (2, "2", "kept")
    again = await posted(door, "/dead-letters/replay", which=["one"])
    assert "was replayed as run 2" in again["reruns"][0]["why"]
    rest = await posted(door, "/dead-letters/replay", code="worker_crash")
    assert (len(rest["reruns"]), rest["left_out"]) == (2, 1)
    marks = await marked(door, 3)
    assert [bool(marks[place]) for place in (*places, other)] == [True] * 3 + [False]

    dry = await posted(door, "/dead-letters/purge", which=[places[0], "two"], dry_run=True)
    assert dry == {"purged": 2, "removed": 0}
    assert len(await listed(door)) == 4
    gone = await posted(door, "/dead-letters/purge", which=[places[0], "two"])
    assert gone["purged"] == 2
    assert [each["place"] for each in await listed(door)] == [other, places[2]]
    for path in ("replay", "purge"):
        answer = await door.post(f"/dead-letters/{path}", json={"which": ["two"]})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    events = [decode_event(each.plain) for each in await records(settings, "events")]
    told = [each.facts for each in events if each.kind == "administered"]
    assert [(each["verb"], each["principal"], each["letters"]) for each in told] == [
        ("dlq replay", "local", 1),
        ("dlq replay", "local", 2),
        ("dlq purge", "local", 2),
    ]
    found = (await door.get("/audit?principal=local")).json()["records"]
    verbs = [each["verb"] for each in found]
    assert verbs == ["dlq purge", "dlq replay", "dlq replay", "dlq show"]
    assert SECRET not in str(found)


async def test_the_audit_is_read_page_by_page_and_verified(door: httpx.AsyncClient) -> None:
    whole = (await door.get("/audit?limit=1000")).json()
    assert whole["next"] is None
    assert "start" in [each["verb"] for each in whole["records"]]
    places, cursor = list[str](), ""
    while True:
        page = (await door.get(f"/audit?limit=2{cursor}")).json()
        places += [each["place"] for each in page["records"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert places == [each["place"] for each in whole["records"]]
    report = (await door.get("/audit/verify")).json()
    assert (report["holds"], report["records"]) == (True, len(places))


async def test_who_hangs_up_leaves_the_turn_to_others(door: httpx.AsyncClient) -> None:
    for _ in range(20):
        with suppress(httpx.ReadTimeout):
            await door.get("/audit/verify", timeout=httpx.Timeout(CAP_S, read=0.001))
    async with asyncio.timeout(CAP_S):
        while (answer := await door.get("/dead-letters")).status_code != 200:
            assert answer.json()["code"] == "busy"
    few = await asyncio.gather(*(door.get("/dead-letters") for _ in range(30)))
    codes = {each.status_code for each in few}
    assert codes == {200, 503}
    assert {each.json()["code"] for each in few if each.status_code == 503} == {"busy"}


async def test_more_than_a_call_takes_is_refused(
    settings: Settings, door: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(bury, settings, "five")
    await asyncio.to_thread(bury, settings, "six")
    for bound in ("MOST_AT_ONCE", "MOST_SEEN"):
        with monkeypatch.context() as patch:
            patch.setattr(f"modelmora.gateway.cluster.administrator.{bound}", 1)
            for path in ("replay", "purge"):
                answer = await door.post(f"/dead-letters/{path}", json={"all": True})
                assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
                assert "name fewer" in answer.json()["detail"]
    assert {"five", "six"} <= {each["request_id"] for each in await listed(door)}
