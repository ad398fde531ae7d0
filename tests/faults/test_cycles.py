"""A hundred loads, answers and unloads of each engine: nothing grows, nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.messages import (
    Content,
    ControlCommand,
    ControlVerb,
    EventKind,
    InferenceRequest,
    Parameter,
    Status,
    Tensor,
)
from modelmora.wire import encode_control, encode_request, new_request_id
from tests.nodes import NodeProcess, Observer
from tests.programs import eventually
from tests.tiny_classifiers import make_tiny_kind, picture
from tests.tiny_graphs import make_graph, scaled
from tests.tiny_models import make_tiny
from tests.tiny_pipelines import make_pipeline
from tests.tiny_steps import make_steps
from tests.tiny_texts import make_tiny_gguf, make_tiny_text

CYCLES, WARM_UP, TAIL = 100, 20, 10
GROWTH_BYTES = 100_000
"""Per cycle, of node and zygote together."""
Made = tuple[str, Callable[[Path], Path | None], Sequence[Content], Mapping[str, Parameter]]
"""Task, folder of the model, inputs and parameters of a request."""


def kind(name: str) -> Callable[[Path], Path]:
    """A tiny model of transformers."""
    return lambda folder: make_tiny_kind(folder, name)


ENGINES: Mapping[str, Made] = {
    "echo": ("echo", lambda _: None, ("a",), {}),
    "count": ("count", lambda _: None, ("a",), {}),
    "embedding, own reader": ("txt2embed", make_tiny, ("river",), {}),
    "embedding, library": ("txt2embed", lambda _: make_steps("dense"), ("river",), {}),
    "classes of texts": ("classify", kind("text"), ("river",), {}),
    "classes of images": ("classify", kind("image"), (picture(),), {}),
    "zero-shot": ("classify", kind("clip"), (picture(),), {"candidate_labels": ("a", "queue")}),
    "rerank": ("rerank", kind("reranker"), ("river", "queue"), {}),
    "vectors of images": ("img2embed", kind("clip"), (picture(),), {}),
    "captions": ("img2txt", kind("git"), (picture(),), {"max_tokens": 3}),
    "diffusion": ("txt2img", make_pipeline, ("a cat",), {"steps": 1}),
    "tensors": (
        "tensor",
        lambda folder: make_graph(folder, scaled()),
        (Tensor("x", "FP32", (1, 3), np.ones(3, np.float32).tobytes()),),
        {},
    ),
    "text of transformers": ("txt2txt", make_tiny_text, ("the",), {"max_tokens": 3}),
    "text of GGUF": ("txt2txt", make_tiny_gguf, ("the",), {"max_tokens": 3, "template": False}),
}


def held(pids: Sequence[int]) -> int:
    """Anonymous bytes: what a leak would add to."""
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def opened(pids: Sequence[int]) -> int:
    """Files, sockets and pipes."""
    return sum(len([*Path(f"/proc/{pid}/fd").iterdir()]) for pid in pids)


def alone(node: int) -> list[int]:
    """The node and its zygote, once nobody else is left: the last child is buried after its event,
    and a zygote that lacked an import is replaced by one that has it."""

    def pair() -> list[int]:
        others = [each.pid for each in psutil.Process(node).children(recursive=True)]
        return [node, *others] if len(others) == 1 else []

    return eventually(pair, "nobody but the zygote is left")


class Cycles:
    """Orders and requests for one model, and what is seen of them."""

    def __init__(self, servers: str, namespace: str, seen: Observer) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        self._namespace = namespace
        self._seen = seen

    def cycle(self, inputs: Sequence[Content], parameters: Mapping[str, Parameter]) -> None:
        """Load, answer one request, unload."""
        self._order(ControlVerb.LOAD, EventKind.LOADED)
        request = InferenceRequest(new_request_id(), "m", tuple(inputs), parameters=parameters)
        self._write("requests.normal", encode_request(request))
        (answer,) = self._seen.answers([request.request_id])
        assert answer.status is Status.COMPLETED, answer
        self._order(ControlVerb.UNLOAD, EventKind.UNLOADED)

    def _order(self, verb: ControlVerb, told: EventKind) -> None:
        before = len(self._seen.events)
        self._write("control", encode_control(ControlCommand(verb, "m")))
        self._seen.until(lambda: told in {e.kind for e in self._seen.events[before:]}, f"{told}")

    def _write(self, topic: str, value: bytes) -> None:
        self._producer.produce(f"{self._namespace}.{topic}", value, "m")
        self._producer.flush(30)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", ENGINES)
def test_loads_and_unloads_leave_nothing(
    broker: EmbeddedBroker,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
) -> None:
    task, make, inputs, parameters = ENGINES[engine]
    source = make(tmp_path / "model") or f"builtin:{task}"
    (temporary := tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    models = json.dumps([{"name": "m", "task": task, "source": str(source)}])
    servers = broker.bootstrap_servers
    with NodeProcess(servers, namespace, tmp_path, settings={"MODELS": models}) as node:
        bytes_held, open_files, files = [], [], []
        with closing(Observer(servers, namespace)) as seen:
            cycles = Cycles(servers, namespace, seen)
            for _ in range(CYCLES):
                cycles.cycle(inputs, parameters)
                pids = alone(node.process.pid)
                bytes_held.append(held(pids))
                open_files.append(opened(pids))
                files.append(len([*tmp_path.rglob("*")]))
    steady = bytes_held[WARM_UP:]
    growth = (steady[-1] - steady[0]) / (len(steady) - 1)
    print(f"{engine}: {growth / 1000:.1f} kB a cycle of {steady[-1] / 1e6:.0f} MB")
    assert growth <= GROWTH_BYTES, steady
    # A connection to the broker comes and goes; what leaks stays.
    assert min(open_files[-TAIL:]) <= min(open_files[WARM_UP:-TAIL]) + 2, open_files[WARM_UP:]
    assert min(files[-TAIL:]) <= min(files[WARM_UP:-TAIL]), [*temporary.rglob("*")]
