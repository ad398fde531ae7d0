"""A broker that is lost with all that lay there: what the runbook says brings everything back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.wire import encode_registry
from tests.integration.cli_rig import World
from tests.nodes import GatewayProcess, NodeProcess
from tests.programs import eventually

pytestmark = pytest.mark.faults
ROLE = "ROLE:reader@"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that no other test has."""
    with EmbeddedBroker(tmp_path / "broker") as made:
        yield made


def lose(broker: EmbeddedBroker) -> None:
    """It dies, and its disk with it; an empty one takes its place."""
    servers = broker.bootstrap_servers
    broker.kill()
    shutil.rmtree(broker.folder / "data")
    broker.start()
    assert broker.bootstrap_servers == servers


def asked(gateway: GatewayProcess) -> int:
    """The status of one request."""
    with httpx.Client(base_url=gateway.http, timeout=60) as door:
        return door.post("/infer/echo", json={"inputs": ["a"]}).status_code


def keys(world: World) -> set[bytes]:
    """What stands in the registry, but what nodes measure as they go."""
    found = {each.key for each in world.records("registry") if each.key and each.value}
    return {key for key in found if not key.startswith(b"MEASURED:")}


@pytest.mark.timeout(900)
def test_an_empty_broker_gets_everything_that_can_be_had_again(
    own: EmbeddedBroker,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELMORA_NAMESPACE", namespace)
    servers = own.bootstrap_servers
    world = World(servers, namespace, capsys)
    node = NodeProcess(servers, namespace, tmp_path)
    with node, GatewayProcess(servers, namespace, tmp_path) as gateway:
        assert asked(gateway) == 200
        role = RegistryRecord(RegistryKind.ROLE, "reader", "", "", "", "somebody", details="{}")
        world.write("registry", encode_registry(role), ROLE)
        eventually(lambda: asked(gateway) == 403, "that the role counts", 60)
        before = keys(world)
        assert ROLE.encode() in before
        world.run("backup", "kept.jsonl")

        lose(own)
        assert node.stop() == 0
        assert gateway.stop() == 0
        world.run("topics", "create")
        node.start().wait_ready()
        gateway.start().wait_ready()
        assert asked(gateway) == 200, "who may do what is gone as well"
        assert keys(world) == before - {ROLE.encode()}, "the node has told its own again"
        world.run("restore", "kept.jsonl")
        assert keys(world) == before
        eventually(lambda: asked(gateway) == 403, "that the role counts again", 60)
