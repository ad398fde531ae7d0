"""`modelmora backup` and `restore` on a real broker, with a registry that is lost between."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from modelmora.kafka.admin import Admin
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.wire import decode_registry, encode_registry
from tests.integration.cli_rig import World
from tests.integration.test_cli_compare import model
from tests.integration.test_cli_nodes import tell
from tests.programs import eventually


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def role(world: World, details: str, based_on: int | None = None) -> int:
    record = RegistryRecord(
        RegistryKind.ROLE, "reader", "", "", "", "somebody", details=details, based_on=based_on
    )
    return int(world.write("registry", encode_registry(record), "ROLE:reader@").split(":")[-1])


def lose_registry(world: World) -> None:
    topic = f"{world.namespace}.registry"
    client = AdminClient({"bootstrap.servers": world.servers, "log_level": 0})
    client.delete_topics([topic])[topic].result(30)
    eventually(lambda: topic not in client.list_topics(timeout=30).topics, "that it is gone")
    Admin(world.settings).create()


def test_a_lost_registry_comes_back(world: World, folder: Path) -> None:
    model(world, "1")
    model(world, "2")
    at = role(world, "{}")
    tell(world, "node-a", serves={"m@1": "echo"})
    world.run("backup", "kept.jsonl")
    assert f"3 records of {world.namespace} in kept.jsonl" in world.err
    assert stat.S_IMODE(Path("kept.jsonl").stat().st_mode) == 0o600

    lose_registry(world)
    model(world, "2")
    assert world.json("restore", "kept.jsonl") == {
        "written": 2,
        "same": 1,
        "other": [],
        "replaced": False,
    }
    found = {each.key: decode_registry(each.plain) for each in world.records("registry")}
    assert found.keys() == {b"MODEL:m@1", b"MODEL:m@2", b"ROLE:reader@"}
    assert all(each.based_on is None for each in found.values())
    world.run("audit", "list", "--verb", "restore")
    assert "1 record" in world.err

    at = max(each.offset for each in world.records("registry") if each.key == b"ROLE:reader@")
    role(world, '{"later":1}', at)
    world.run("restore", "kept.jsonl", code=1)
    assert "left 1 that differ: the role of reader; --replace writes over them" in world.err
    world.run("restore", "kept.jsonl", "--replace", code=2)
    assert "pass --yes" in world.err
    world.run("restore", "kept.jsonl", "--replace", "--yes")
    assert "replaced 1: the role of reader" in world.err
    world.run("restore", "kept.jsonl")
    assert "0 records written, 3 there already" in world.err


def test_what_cannot_be_is_said_in_one_line(world: World, folder: Path) -> None:
    Path("text").write_text("a text\n")
    Path("bytes").write_bytes(b"\xff\xfe")
    Path("cut").write_text('{"registry": 1, "namespace": "n", "records": 1}\n')
    for words, code, said in [
        (("backup", "kept.jsonl"), 1, "holds nothing to keep"),
        (("restore", "none"), 2, "none cannot be read: No such file"),
        (("restore", "text"), 2, "text: it is no backup of a registry"),
        (("restore", "bytes"), 2, "bytes cannot be read: it is no text"),
        (("restore", "cut"), 2, "cut: it has 0 of 1 records; it was cut off"),
    ]:
        world.run(*words, code=code)
        assert said in world.err
        assert world.err.count("modelmora: ") == 1
    model(world, "1")
    world.run("backup", "text/kept.jsonl", code=2)
    assert "text/kept.jsonl cannot be written: " in world.err
    assert [each.name for each in folder.iterdir() if "kept" in each.name] == []
