"""What a node tells of models that it cannot load."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from modelmora.agents.lifecycle import Lifecycle
from modelmora.messages import EventKind
from modelmora.node.models import look, model_rows
from modelmora.node.node import Node
from modelmora.registry import install
from modelmora.registry.lock import write_lock
from modelmora.serving import Service
from modelmora.settings import ModelConfig, Settings
from tests.unit.registry.models import make_model


async def test_each_model_is_told_with_why_it_has_failed(tmp_path: Path) -> None:
    gone = ModelConfig(name="gone", task="txt2embed", source=str(tmp_path / "no-such-folder"))
    settings = Settings(
        bootstrap_servers="127.0.0.1:1",
        dynamic_member=True,
        data_dir=tmp_path / "data",
        models=(gone,),
    )
    node = Node(settings)
    assert node.wellness.verdict().checks["models"], "with none there is nothing wrong with them"
    await node._look_at_models()
    ((name, reason),) = node.wellness.facts()["failed"].items()
    assert name == "gone@1"
    assert "there is no folder" in reason
    assert not node.wellness.verdict().checks["models"], "nothing could be served"
    (row,) = model_rows(node.service, node.workers)
    assert (row["name"], row["state"], row["reason"]) == ("gone", "failed", reason)
    assert row["retry_after_ms"] is None

    weights = make_model(tmp_path / "mine") / "model.safetensors"
    definition = install(settings, str(weights.parent))
    await node._look_at_models()
    assert node.wellness.verdict().checks["models"]
    assert node.wellness.facts()["serves"] == ["mine@1"]
    with patch.object(Service, "status", autospec=True, side_effect=Service.status) as looked:
        standing, holding = look(node.service, node.workers)
    assert standing.keys() == holding.keys() == {"gone@1", "mine@1"}
    assert looked.call_count == 1, "a look at each of many models takes its time"
    weights.write_bytes(b"")
    await node._look_at_models()
    assert "cut off" in node.wellness.facts()["failed"]["mine@1"]
    (settings.data_dir / "models" / definition.name / "1.yaml").unlink()
    await node._look_at_models()
    assert [row["name"] for row in model_rows(node.service, node.workers)] == ["gone"]


async def test_what_drifted_from_the_lock_file_is_told_once_and_what_is_loaded_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = make_model(tmp_path / "mine") / "model.safetensors"
    mine = ModelConfig(name="mine", task="txt2embed", source=str(weights.parent))
    settings = Settings(
        bootstrap_servers="127.0.0.1:1",
        dynamic_member=True,
        data_dir=tmp_path / "data",
        models=(mine,),
        lock_file=tmp_path / "modelmora.lock",
        locked=True,
    )
    write_lock(settings)
    told: list[tuple[str, object]] = []
    node = Node(settings)
    monkeypatch.setattr(
        Lifecycle, "event", lambda self, kind, key, facts=None: told.append((kind, facts))
    )
    await node._look_at_models()
    assert node.wellness.facts()["serves"] == ["mine@1"]
    before = dict(node.service.catalogue.specs)
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"x")
    for _ in range(2):
        await node._look_at_models()
    reason = "model.safetensors is not the file that was locked"
    assert [facts for kind, facts in told if kind is EventKind.LOAD_FAILED] == [
        {"code": "cannot_be_served", "message": reason}
    ]
    assert node.wellness.verdict().checks["models"]
    assert dict(node.service.catalogue.specs) == before, "nothing is loaded anew"
