"""The CLI's view of a whole cluster, of which it is told the address alone."""

from __future__ import annotations

from modelmora.messages import Holding, RegistryKind, RegistryRecord
from modelmora.wire import encode_registry
from tests.integration.cli_rig import World

FOREVER_MS = 10**12


def tell(world: World, node: str, lease_ms: int = FOREVER_MS, **said: object) -> None:
    lease = RegistryRecord(RegistryKind.NODE, node, "", "", "", node, lease_ms=lease_ms, **said)  # type: ignore[arg-type]
    world.write("registry", encode_registry(lease), f"NODE:{node}@")


def test_all_nodes_by_the_address_alone(world: World) -> None:
    known = RegistryRecord(RegistryKind.MODEL, "idle", "1", "echo", "builtin:echo", "somebody")
    world.write("registry", encode_registry(known), "MODEL:idle@1")
    tell(world, "gone", lease_ms=-1, serves={"m@1": "echo"}, partitions=(2,))
    tell(world, "node-b", serves={"m@1": "echo"}, states={"m@1": "cold"})
    held = Holding("cpu", 7, 34_000_000, waiting=3, running=1)
    tell(
        world,
        "node-a",
        serves={"m@1": "echo"},
        partitions=(0, 1),
        failed={"broken@1": "its files are broken"},
        states={"m@1": "ready"},
        holding={"m@1": held.text},
    )
    nodes = {each["node"]: each for each in world.json("nodes")}
    assert {name: each["state"] for name, each in nodes.items()} == {
        "node-a": "running",
        "node-b": "standby",
        "gone": "silent",
    }
    assert list(nodes) == ["node-a", "node-b", "gone"]
    first = nodes["node-a"]
    assert (first["loaded"], first["models"]) == (1, ["broken@1", "m@1"])
    assert (first["memory_bytes"], first["waiting"], first["running"]) == (34_000_000, 3, 1)
    rows = {(each["node"], each["name"]): each["state"] for each in world.json("ps")}
    assert rows == {
        ("node-a", "m"): "ready",
        ("node-a", "broken"): "failed",
        ("node-b", "m"): "cold",
    }
    shown = [line.split() for line in world.run("ps").splitlines()]
    assert shown[0][:3] == ["NODE", "NAME", "VERSION"]
    assert shown[2] == ["node-a", "m", "1", "ready", "cpu", "7", "34", "MB", "-", "4", "-", "-"]
    assert "broken@1: its files are broken" in world.err
    models = {each["name"]: each["nodes"] for each in world.json("list")}
    assert models == {"idle": {}, "m": {"node-a": "ready", "node-b": "cold"}}
    assert "ready on 1 node, cold on 1 node" in world.run("list", "--task", "echo")
    assert "served by no node" in world.run("list")
    world.run("list", "--licence", "mit", code=2)
    assert "of this machine's models alone" in world.err


def test_a_cluster_without_nodes(world: World) -> None:
    assert world.json("nodes") == []
    world.run("nodes")
    assert "no node runs; start one" in world.err
