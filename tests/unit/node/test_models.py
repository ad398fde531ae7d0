"""What a node tells of models that it cannot load."""

from __future__ import annotations

from pathlib import Path

from modelmora.node.node import Node
from modelmora.registry import install
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
    assert node.checks()["models"], "with none there is nothing wrong with them"
    await node._look_at_models()
    ((name, reason),) = node.facts()["failed"].items()
    assert name == "gone@1"
    assert "there is no folder" in reason
    assert not node.checks()["models"], "nothing could be served"
    (row,) = node.rows()
    assert (row["name"], row["state"], row["reason"]) == ("gone", "failed", reason)
    assert row["retry_after_ms"] is None

    weights = make_model(tmp_path / "mine") / "model.safetensors"
    definition = install(settings, str(weights.parent))
    await node._look_at_models()
    assert node.checks()["models"]
    assert node.facts()["serves"] == ["mine@1"]
    weights.write_bytes(b"")
    await node._look_at_models()
    assert "cut off" in node.facts()["failed"]["mine@1"]
    (settings.data_dir / "models" / definition.name / "1.yaml").unlink()
    await node._look_at_models()
    assert [row["name"] for row in node.rows()] == ["gone"]
