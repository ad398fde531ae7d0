"""A node whose model was changed on the disk."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.registry.lock import write_lock
from modelmora.settings import ModelConfig, Settings
from tests.faults.recording import Figures
from tests.foreign import draft
from tests.integration.test_nodes import CAP_S, Yard
from tests.nodes import Observer
from tests.programs import eventually
from tests.tiny_models import make_tiny
from tests.unit.registry.test_lock import flip


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


@pytest.mark.row("F24")
@pytest.mark.faults
def test_a_byte_changed_behind_the_lock(yard: Yard, figures: Figures) -> None:
    """What is loaded serves on; once its child is gone, the changed file is not loaded."""
    model = make_tiny(yard.folder / "tiny")
    config = ModelConfig(name="tiny", task="txt2embed", source=str(model))
    lock = yard.folder / "modelmora.lock"
    write_lock(Settings(data_dir=yard.folder / "n1", lock_file=lock, models=(config,)))
    told = [{"name": "echo", "task": "echo", "source": "builtin:echo"}]
    told.append({"name": "tiny", "task": "txt2embed", "source": str(model)})
    with (
        yard.node(MODELS=json.dumps(told), LOCKED="true", LOCK_FILE=lock) as node,
        closing(Observer(yard.servers, yard.namespace)) as seen,
    ):

        def asks(name: str) -> str:
            (sent,) = yard.send([draft(name, ["a"])])
            (answer,) = seen.answers([sent.request_id])
            return answer.error.message if answer.error else ""

        assert asks("tiny") == ""
        flip(model / "model.safetensors")
        eventually(
            lambda: "is not the file that was locked" in node.log_since_start(), "it tells", CAP_S
        )
        assert asks("tiny") == ""
        os.kill(node.models()["tiny"]["pid"], 9)
        eventually(lambda: node.models()["tiny"]["pid"] is None, "the end of its child", CAP_S)
        assert "is not the file that was locked" in asks("tiny")
        assert asks("echo") == ""
        flip(model / "model.safetensors")
        eventually(lambda: asks("tiny") == "", "the file that was locked is back", CAP_S)
        yard.answered()
        assert node.stop() == 0
    verdict = yard.verdict()
    assert verdict.violations == ()
    figures.judged(verdict, faults=1)
