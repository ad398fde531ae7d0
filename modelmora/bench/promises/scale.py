"""What four nodes do together beside one alone, on a model that is spread over all partitions."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import httpx
import yaml

from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import (
    PARTITIONS,
    PATIENCE_S,
    Stage,
    appended_s,
    fixed,
    requests_of,
    serving,
)
from modelmora.errors import ModelMoraError
from modelmora.messages import Lane
from modelmora.settings import CONFIG_VARIABLE
from modelmora.wire import encode_request

NODES = 4
MODEL, MS = "fixed", 20
SECONDS, TURNS = 10.0, 3


def scale_of_four(scale: float) -> list[Figure]:
    """The rate of four nodes by that of one, on the same broker, in turns; the median."""
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as folder, ExitStack() as stack:
        stage = _start(Path(folder), stack)
        for turn in range(1 + TURNS):
            asked = max(2, int(SECONDS * scale * 1000 / MS / PARTITIONS)) * PARTITIONS
            rates = _rate(stage, "modelmora", asked), _rate(stage, "four", asked * NODES)
            if turn:  # in the first each loads its model
                found.append(rates)
    ones, fours = zip(*found, strict=True)
    beside = {"four /s": median(fours), "one /s": median(ones), "asleep /s": 1000 / MS}
    ratio = median(four / one for one, four in found)
    return [Figure("scale.4_vs_1", ratio, "ratio", at_least(3.8), None, beside)]


def _start(folder: Path, stack: ExitStack) -> Stage:
    """A broker and a node, and four nodes on another namespace of it, each with its partitions."""
    config = folder / "modelmora.yaml"
    config.write_text(yaml.safe_dump({"models": [fixed(MODEL, {"ms": MS}, spread=PARTITIONS)]}))
    variables = {CONFIG_VARIABLE: str(config)}
    stage = stack.enter_context(serving(_made(folder / "one"), variables=variables))
    variables |= {
        "MODELMORA_ROLE": "node",
        "MODELMORA_NAMESPACE": "four",
        "MODELMORA_BOOTSTRAP_SERVERS": stage.bootstrap_servers,
        "MODELMORA_TOPICS__PARTITIONS": str(PARTITIONS),
    }
    nodes = [
        stack.enter_context(serving(_made(folder / f"node-{number}"), variables=variables))
        for number in range(NODES)
    ]
    end = time.monotonic() + PATIENCE_S
    while {_owned(node) for node in nodes} != {PARTITIONS // NODES}:
        if time.monotonic() > end:
            raise ModelMoraError(f"{NODES} nodes do not share {PARTITIONS} partitions alike")
        time.sleep(0.2)
    return stage


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _owned(node: Stage) -> int:
    """How many partitions of the lanes a node reads."""
    facts = httpx.get(f"{node.run.node_http}/health/ready", timeout=10).json()
    return int(facts["partitions"]) // len(Lane)


def _rate(stage: Stage, namespace: str, asked: int) -> float:
    """Outcomes a second, of requests that lie there at once, as many on each partition.

    Not where their ids put them: that is even only by chance, and is no matter of the nodes.
    """
    tail, producer = stage.tail(f"{namespace}.results"), stage.producer()
    for number, request in enumerate(requests_of(MODEL, ["x"] * asked)):
        value, partition = encode_request(request), number % PARTITIONS
        producer.produce(f"{namespace}.requests.normal", value, MODEL, partition)
        producer.poll(0)
    producer.flush(60)
    ended = sorted(map(appended_s, tail.take(asked)))
    tail.close()
    return (asked - 1) / max(ended[-1] - ended[0], 1e-3)
