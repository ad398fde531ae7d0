"""Nodes that join and leave one after the other under load, and how long requests wait meanwhile.

python -m tests.faults.joining --nodes 5 --partitions 4 --rate 100
python -m tests.faults.joining --nodes 3 --rate 20 --load-s 2.5 --warm-up-s 0
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from confluent_kafka import Consumer, TopicPartition

from modelmora.broker import EmbeddedBroker
from tests.foreign import LANES, Foreign, draft
from tests.nodes import NodeProcess
from tests.programs import eventually

NAMESPACE = "modelmora"
KEYS = 64
REST_S = 8.0
CAP_S = 600.0
MODEL, FIXED = "loads", "modelmora.testing.engines:Fixed"


class Step(NamedTuple):
    """What happened, the waits (s) of the requests sent meanwhile, and what each node then had."""

    what: str
    waits: list[float]
    owned: tuple[int, ...]

    def __str__(self) -> str:
        waits = sorted(self.waits)
        middle, late = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
        return (
            f"{self.what:>12}: {len(waits):5} requests, p50 {middle * 1000:5.0f} ms, "
            f"p99 {late * 1000:5.0f} ms, longest {waits[-1] * 1000:5.0f} ms; "
            f"partitions {' '.join(map(str, self.owned))}"
        )


class Load:
    """Requests for `MODEL` at a steady rate on all lanes, and when each was answered."""

    def __init__(self, servers: str, folder: Path, rate: float, namespace: str = NAMESPACE) -> None:
        self.servers, self.folder, self.rate = servers, folder, rate
        self._namespace = namespace
        self.sent: dict[bytes, float] = {}
        self.answered: dict[bytes, float] = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._read)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def during(self, what: str, nodes: Sequence[NodeProcess], steps: list[Step]) -> Iterator[None]:
        """Note how long the requests waited that were sent meanwhile, and for a while after."""
        began = time.monotonic()
        yield
        time.sleep(REST_S)
        ended = time.monotonic()
        ids = {each for each, at in list(self.sent.items()) if began <= at < ended}
        eventually(lambda: self.answered.keys() >= ids, "every answer", CAP_S)
        owned = tuple(node.get("/health/ready")["partitions"] for node in nodes if node.running)
        steps.append(Step(what, [self.answered[each] - self.sent[each] for each in ids], owned))

    def _send(self) -> None:
        chance = random.Random(1)
        due = time.monotonic()
        with Foreign(self.servers, self.folder / "ids.jsonl", self._namespace) as foreign:
            while not self._over.wait(max(0.0, due - time.monotonic())):
                due += 1 / self.rate
                one = draft(MODEL, ["x"])
                one = replace(one, key=b"%d" % chance.randrange(KEYS))
                self.sent[one.request_id.encode()] = time.monotonic()
                foreign.send(chance.choice(LANES), one)
            foreign.flush(CAP_S)

    def _read(self) -> None:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "load"})
        topic = f"{self._namespace}.results"
        there = consumer.list_topics(topic, timeout=CAP_S).topics[topic].partitions
        consumer.assign([TopicPartition(topic, each, 0) for each in there])
        while not self._over.is_set():
            for message in consumer.consume(1000, 0.01):
                self.answered.setdefault(message.key(), time.monotonic())
        consumer.close()


def run(
    nodes: int,
    partitions: int,
    rate: float,
    folder: Path,
    *,
    load_s: float = 0.0,
    warm_up_s: float = 20.0,
) -> list[Step]:
    """Each node joins, then each but the first leaves; every request is answered.

    Its model takes `load_s` to load; `warm_up_s` is the nodes' setting.
    """
    steps: list[Step] = []
    model = {"name": MODEL, "task": "sleep", "source": "builtin:sleep", "engine": FIXED}
    settings = {
        "TOPICS__PARTITIONS": partitions,
        "MODELS": json.dumps([model | {"options": {"load_s": load_s, "ms": 0.0}}]),
        "TIMING__WARM_UP_S": warm_up_s,
    }
    with EmbeddedBroker(folder) as broker, ExitStack() as stack:
        servers = broker.bootstrap_servers
        all_nodes = [
            NodeProcess(servers, NAMESPACE, folder, f"n{number}", settings)
            for number in range(1, nodes + 1)
        ]
        first, *others = all_nodes
        stack.callback(first.__exit__)
        first.start().wait_ready(CAP_S)
        load = stack.enter_context(Load(servers, folder, rate))
        with load.during("first alone", all_nodes, []):
            pass  # the first request waits for the model
        with load.during("alone", all_nodes, steps):
            pass
        for number, node in enumerate(others, start=2):
            with load.during(f"{number} joins", all_nodes, steps):
                stack.callback(node.__exit__)
                node.start().wait_ready(CAP_S)
        for number, node in reversed([*enumerate(others, start=2)]):
            with load.during(f"{number} leaves", all_nodes, steps):
                assert node.stop() == 0, node.tail()
    return steps


def main(argv: list[str]) -> None:
    """Read the options, run, print a line for each step."""
    parser = argparse.ArgumentParser("python -m tests.faults.joining", description=__doc__)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--load-s", type=float, default=0.0, help="what the model takes to load")
    parser.add_argument("--warm-up-s", type=float, default=20.0, help="timing.warm_up_s of a node")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="modelmora-joining-") as folder:
        given = options.nodes, options.partitions, options.rate, Path(folder)
        for step in run(*given, load_s=options.load_s, warm_up_s=options.warm_up_s):
            sys.stdout.write(f"{step}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
