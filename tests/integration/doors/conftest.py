"""One running node with a model of each kind, and one gateway, for all tests of this folder.

They go to one worker: see `tests.conftest`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmora.broker import EmbeddedBroker
from tests.nodes import GatewayProcess
from tests.stations import Station, running
from tests.tiny_adapters import make_adapter
from tests.tiny_classifiers import make_tiny_kind
from tests.tiny_graphs import make_graph, scaled
from tests.tiny_models import make_tiny
from tests.tiny_pipelines import make_pipeline
from tests.tiny_pooled import write_bert
from tests.tiny_texts import (
    TOOL_TEMPLATE,
    make_tiny_gguf,
    make_tiny_text,
    write_lora,
    write_projector,
)

INLINE = 300_000
"""What is larger goes through the store of objects."""
WITH_TEMPLATE = {"tokenizer.chat_template": TOOL_TEMPLATE}
RATINGS = {"0": "normal", "1": "nsfw", "2": "sexy"}


def models(folder: Path) -> list[dict[str, Any]]:
    """Where several have a task, the first by name answers for it."""
    from transformers import AutoModelForCausalLM

    eyes = make_tiny_gguf(folder / "eyes", **WITH_TEMPLATE)
    write_projector(eyes / "mmproj.gguf")
    texts = {
        "tensors": make_tiny_text(folder / "tensors"),
        "gguf": make_tiny_gguf(folder / "gguf", **WITH_TEMPLATE),
    }
    adapters = {
        "tensors": make_adapter(folder / "a", AutoModelForCausalLM, texts["tensors"], "q_proj"),
        "gguf": write_lora(folder / "b" / "lora.gguf"),
    }
    sources: dict[str, tuple[str, Path | str]] = {
        "blind": ("txt2txt", texts["tensors"]),
        "captions": ("img2txt", make_tiny_kind(folder / "captions", "blip")),
        "count": ("count", "builtin:count"),
        "echo": ("echo", "builtin:echo"),
        "eyes": ("txt2txt", eyes),
        "looks": ("img2embed", make_tiny_kind(folder / "looks", "clip")),
        "mirror": ("echo", "builtin:echo"),
        "paints": ("txt2img", make_pipeline(folder / "paints")),
        "ranks": ("rerank", write_bert(folder / "ranks.gguf", 4, head=True)),
        "rates": ("classify", make_tiny_kind(folder / "rates", "image", id2label=RATINGS)),
        "scaled": ("tensor", make_graph(folder / "scaled", scaled())),
        "sleep": ("sleep", "builtin:sleep"),
        "tiny": ("txt2embed", make_tiny(folder / "tiny")),
        "vectors": ("txt2embed", write_bert(folder / "vectors.gguf", 1)),
    }
    found: list[dict[str, Any]] = [
        {"name": name, "task": task, "source": str(source)}
        for name, (task, source) in sources.items()
    ]
    for name, source in texts.items():
        text = {"name": name, "task": "txt2txt", "source": str(source)}
        tuned = {"version": "tuned", "adapter": {"source": str(adapters[name])}}
        found += [text | {"active": True}, text | tuned]
    # With one slot who is not gone is in the way of everybody.
    single = {"name": "single", "task": "count", "source": "builtin:count"}
    return [*found, single | {"options": {"slots": 1}}]


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of objects that node and gateways share."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="session")
def station(
    broker: EmbeddedBroker, objects: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    """The node. A test may kill its children, and stop and start it."""
    folder = tmp_path_factory.mktemp("doors")
    settings = {
        "OBJECTS__INLINE_BYTES": INLINE,
        "OBJECTS__FOLDER": objects,
        "REPLY_TOPICS": '["*-replies"]',
    }
    with running(broker.bootstrap_servers, folder, json.dumps(models(folder)), settings) as made:
        yield made


@pytest.fixture(scope="session")
def gateway(
    station: Station, objects: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """The gateway, which nobody kills."""
    folder, shared = tmp_path_factory.mktemp("gateway"), {"OBJECTS__FOLDER": objects}
    with GatewayProcess(station.servers, station.namespace, folder, shared) as made:
        yield made
