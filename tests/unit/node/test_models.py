"""What a node tells of models that it cannot load: to its supervisor, and to who asks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmora.node.node import Node
from modelmora.registry import install
from modelmora.settings import ModelConfig, Settings
from tests.unit.registry.models import make_model


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The end of the pipe on which a supervisor would read."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setenv("MODELMORA_NOTIFY_FD", str(writing))
    yield reading
    os.close(reading)
    os.close(writing)


def told(facts: int) -> dict[str, object]:
    try:
        lines = os.read(facts, 1 << 16).splitlines()
    except BlockingIOError:
        return {}
    return {name: fact for line in lines for name, fact in json.loads(line).items()}


async def test_each_model_is_told_with_why_it_has_failed(facts: int, tmp_path: Path) -> None:
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
    reason = told(facts)["model gone@1"]
    assert "there is no folder" in str(reason)
    assert node.facts()["failed"] == {"gone@1": reason}
    assert not node.checks()["models"], "nothing could be served"
    (row,) = node.rows()
    assert (row["name"], row["state"], row["reason"]) == ("gone", "failed", reason)
    assert row["retry_after_ms"] is None

    weights = make_model(tmp_path / "mine") / "model.safetensors"
    definition = install(settings, str(weights.parent))
    await node._look_at_models()
    assert told(facts) == {"model mine@1": ""}, "only what is new"
    assert node.checks()["models"]
    assert node.facts()["serves"] == ["mine@1"]
    weights.write_bytes(b"")
    await node._look_at_models()
    assert "cut off" in str(told(facts)["model mine@1"])
    (settings.data_dir / "models" / definition.name / "1.yaml").unlink()
    await node._look_at_models()
    assert told(facts) == {"model mine@1": None}
