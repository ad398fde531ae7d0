"""What nodes hold and have measured, at both doors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx

from modelmora.gateway.doors.grpc.registry import _model
from modelmora.gateway.doors.rest.orders import HeldModel
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.hall import standing
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.verbs import entry_of
from modelmora.messages import DeviceKind, Holding, RegistryKind, RegistryRecord
from modelmora.records.measured import Measured, Taken, told
from modelmora.rpc.v1 import management_pb2
from tests.unit.gateway.fakes import FakeHall


async def get(hall: FakeHall, path: str) -> Any:
    transport = httpx.ASGITransport(create_app(hall, Metrics(), 1 << 20))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return (await client.get(path)).json()


async def test_the_status_has_what_ps_shows() -> None:
    hall = FakeHall()
    holding = Holding("cpu", 77, 5 << 20, 0, 3, 2, None, 1.5, True)
    hall.holding = {"echo@1": holding.text}
    hall.reasons = {"torn": "no weights"}
    echo, torn = (await get(hall, "/status"))["models"]
    assert HeldModel.model_validate(echo).model_dump() == echo, "it is as described"
    assert (echo["device"], echo["pid"], echo["memory_bytes"]) == ("cpu", 77, 5 << 20)
    assert (echo["waiting"], echo["running"], echo["leaves_s"], echo["pinned"]) == (3, 2, 1.5, True)
    assert (torn["reason"], torn["device"], torn["waiting"]) == ("no weights", None, 0)
    for row in standing(hall):  # as gRPC tells it
        management_pb2.ModelHealth(**{k: v for k, v in row.items() if v is not None})


async def test_lists_are_asked_by_licence_and_facts() -> None:
    hall = FakeHall()
    base = RegistryRecord(RegistryKind.MODEL, "e", "1", "txt2embed", "/e", "n1")
    told = {"licence": {"name": "MIT"}, "metadata": {"language": ["en", "de"], "dimension": 1}}
    hall.registry.write(
        replace(base, details=json.dumps(told), file_facts='{"dimension":384,"texts":true}')
    )
    for query, found in (
        ("licence=mit", True),
        ("licence=apache-2.0", False),
        ("fact.dimension=384&fact.language=DE&licence=MIT", True),
        ("fact.dimension=1", False),
        ("fact.texts=true", True),
        ("fact.=1", False),
    ):
        names = [each["name"] for each in (await get(hall, f"/models?{query}"))["models"]]
        assert names == (["e"] if found else []), query
    entry = await get(hall, "/models/e/versions/1")
    assert entry["facts"] == {"dimension": 384, "texts": True, "language": ["en", "de"]}
    assert entry["metadata"] == told["metadata"], "what was written comes back as it was"
    assert (await get(hall, "/models?facts.dimension=1"))["code"] == "invalid_input"
    known = hall.registrar.state.model("e", "1")
    assert known
    assert json.loads(_model(entry_of(hall, known)).facts) == entry["facts"]


async def test_what_was_measured_stands_beside_what_is_declared() -> None:
    hall = FakeHall()
    taken = {DeviceKind.CPU: Taken({0: (5 << 20, 0), 64: (9 << 20, 0)}, 64)}
    hall.registry.write(told(("echo", "1"), "n1", Measured("a", taken, 12.5)))
    entry = await get(hall, "/models/echo/versions/1")
    assert entry["needs"] == {"memory_mb": None, "gpu_vram_mb": None}
    assert entry["measured"] == [
        {
            "node": "n1",
            "device": "cpu",
            "memory_bytes": 9 << 20,
            "gpu_bytes": 0,
            "largest_batch_cost": 64,
            "load_ms": 12.5,
        }
    ]
    known = hall.registrar.state.model("echo", "1")
    assert known
    (measured,) = _model(entry_of(hall, known)).measured
    assert (measured.node, measured.memory_bytes, measured.load_ms) == ("n1", 9 << 20, 12.5)
