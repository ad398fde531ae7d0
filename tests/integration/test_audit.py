"""The audit on a real broker: told by a process and by people, listed, and verified."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelmora.audit import auditor as auditor_module
from modelmora.audit.auditor import STOP, Auditor
from modelmora.audit.reading import verified
from modelmora.broker import EmbeddedBroker
from modelmora.errors import Code
from modelmora.kafka.admin import Admin
from modelmora.kafka.reading.reader import Reader, Record
from modelmora.kafka.topics import DAY
from modelmora.kafka.writing.publisher import Publisher
from modelmora.messages.headers import SIGNATURE
from modelmora.settings import Settings
from modelmora.wire import decode_audit
from tests.integration.cli_rig import World, request
from tests.topics import CAP_S, create_topic, delete_topic, until


async def tell(world: World, data_dir: Path) -> None:
    """A process lives, and tells of three things."""
    settings = world.settings.model_copy(update={"data_dir": data_dir})
    publisher = Publisher(settings)
    await publisher.start()
    auditor = Auditor.of(settings, "node@a", "nodes")
    auditor.use(publisher.send)
    auditor.tell("load", "alice", model="m@1")
    auditor.tell("install", "bob", model="other@2")
    auditor.tell("load", "mallory", allowed=False, model="m@1", reason="not hers")
    auditor.stop()
    await publisher.flush()
    await publisher.stop()


def copied(world: World, records: Sequence[Record]) -> None:
    """Write these again, as they are."""
    for each in records:
        key = (each.key or b"").decode()
        headers = {name: value or b"" for name, value in each.headers}
        world.write(each.topic.removeprefix(f"{world.namespace}."), each.value, key, headers)


async def test_what_is_told_is_listed_and_verified(world: World, tmp_path: Path) -> None:
    await tell(world, tmp_path / ".modelmora")
    rows = world.json("audit", "list")
    assert [each["verb"] for each in rows] == ["start", "load", "install", "load", "stop"]
    assert [each["principal"] for each in world.json("audit", "list", "--denied")] == ["mallory"]
    assert len(world.json("audit", "list", "--model", "m", "--verb", "load")) == 2
    assert len(world.json("audit", "list", "--principal", "bob", "--since", "1h")) == 1
    assert world.json("audit", "list", "--last", "1")[0]["verb"] == STOP
    assert "not hers" in world.run("audit", "list")
    report = world.json("audit", "verify")
    assert (report["holds"], report["records"], report["heads"]) == (True, 5, 2)
    key = world.run("audit", "key").strip()
    world.run("audit", "verify")
    assert f"  {key}\nall of it holds" in world.err


async def test_what_is_done_to_it_on_the_broker_is_found(world: World, tmp_path: Path) -> None:
    await tell(world, tmp_path / ".modelmora")
    first, second, third, *rest = world.records("audit")
    value = bytearray(second.value or b"")
    value[-39] ^= 1  # a letter of the model
    signature = dict(second.headers)[SIGNATURE] or b""
    world.write("audit", bytes(value), "node@a", {SIGNATURE: signature})
    world.write("audit", b"nonsense")
    copied(world, [third])
    report = world.json("audit", "verify", code=1)
    found = [(each["fault"], each["place"].rpartition(":")[2]) for each in report["findings"]]
    assert found == [("signature", "5"), ("unreadable", "6")]
    assert report["repeated"] == 1
    assert "record 1 is not as it was signed" in world.run("audit", "verify", code=1)
    assert len(world.json("audit", "list")) == 7
    assert "is no record of the audit" in world.err
    assert [first.offset, len(rest)] == [0, 2]


async def test_a_topic_made_anew_without_some_of_it_is_found(world: World, tmp_path: Path) -> None:
    await tell(world, tmp_path / ".modelmora")
    records = world.records("audit")
    topic = f"{world.namespace}.audit"
    delete_topic(world.servers, topic)
    create_topic(world.servers, topic)
    copied(world, records[:-2])
    (finding,) = world.json("audit", "verify", code=1)["findings"]
    assert (finding["fault"], finding["place"]) == ("truncated", f"{world.namespace}.audit:0:2")
    assert finding["message"] == "records 3 to 4 are gone from the end"


@pytest.mark.faults
async def test_a_broker_that_dies_leaves_a_whole_chain_and_a_true_count(
    mortal: EmbeddedBroker, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor_module, "MOST_WAITING", 300)
    monkeypatch.setattr(auditor_module, "WINDOW", 100)
    settings = Settings(
        bootstrap_servers=mortal.bootstrap_servers, namespace=namespace, data_dir=tmp_path
    )
    await asyncio.to_thread(Admin(settings).create)
    publisher = Publisher(settings, timeout_s=1)
    await publisher.start()
    auditor = Auditor.of(settings, "node@a", "nodes")
    auditor.use(publisher.send)
    told = 0
    for _ in range(2):
        await until(lambda: auditor.idle)
        await asyncio.to_thread(mortal.kill)
        for _ in range(1000):
            auditor.tell("load", "alice")
            told += 1
        await until(lambda: not publisher.connected)
        await mortal.start_async()
        await until(lambda: auditor.idle)
    auditor.stop()
    await asyncio.wait_for(publisher.flush(), CAP_S)
    await publisher.stop()
    with Reader(settings) as reader:
        report = await asyncio.to_thread(verified, settings, reader)
        rows = reader.read(reader.since(reader.places(f"{namespace}.audit"), None))
        numbers = {
            e.sequence for e in map(decode_audit, (r.value for r in rows)) if e.verb == "load"
        }
    assert report.findings == []
    (writer,) = report.writers.values()
    assert writer.ended
    lost = sum(int(each.split()[0]) for each in writer.lost)
    assert len(numbers) + lost == told
    assert lost > 0


def test_a_person_tells_before_it_is_done(world: World) -> None:
    world.bury(request("one"), world.write("requests.low", request("one"), "m"), Code.WORKER_CRASH)
    world.run("dlq", "replay", "one")
    world.run("dlq", "purge", "one", "--yes")
    rows = world.json("audit", "list")
    assert [(each["verb"], each["sequence"]) for each in rows] == [
        ("dlq replay", 0),
        ("dlq purge", 0),
    ]
    assert rows[0]["reason"] == "one, 1 letter"
    assert not Path(".modelmora").exists(), "no data folder is made for it"
    report = world.json("audit", "verify")
    assert (report["holds"], report["records"], report["heads"]) == (True, 2, 2)


def test_settings_say_how_long_it_is_kept(bare: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELMORA_AUDIT__KEPT_DAYS", "3")
    bare.run("topics", "create")
    (told,) = bare.json("topics", "describe", "audit")
    assert (told["retention_ms"], told["differs"]) == (3 * DAY, [])
    monkeypatch.delenv("MODELMORA_AUDIT__KEPT_DAYS")
    (told,) = bare.json("topics", "describe", "audit")
    assert told["differs"] == [f"retention.ms is {3 * DAY}, not {365 * DAY}"]
