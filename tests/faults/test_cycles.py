"""A hundred loads and unloads: node and zygote stay as they are, and nothing is left behind."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.messages import ControlCommand, ControlVerb, EventKind
from modelmora.wire import encode_control
from tests.nodes import NodeProcess, Observer

CYCLES, WARM_UP = 100, 20
GROWTH_BYTES = 100_000
"""Per cycle."""
MODELS = ("echo", "count", "sleep")


def held(pids: list[int]) -> int:
    """Anonymous bytes: what a leak would add to."""
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


@pytest.mark.faults
@pytest.mark.parametrize("model", MODELS)
def test_loads_and_unloads_leave_nothing(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, model: str
) -> None:
    servers = broker.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    with NodeProcess(servers, namespace, tmp_path) as node:
        assert node.zygote
        pids = [node.process.pid, node.zygote]
        with closing(Observer(servers, namespace)) as seen:

            def order(verb: ControlVerb, kind: EventKind) -> None:
                before = len(seen.events)
                value = encode_control(ControlCommand(verb, model))
                producer.produce(f"{namespace}.control", value, model)
                producer.flush(30)
                seen.until(
                    lambda: kind in {event.kind for event in seen.events[before:]}, f"{kind}"
                )

            bytes_held, open_files = [], []
            for _ in range(CYCLES):
                order(ControlVerb.LOAD, EventKind.LOADED)
                order(ControlVerb.UNLOAD, EventKind.UNLOADED)
                bytes_held.append(held(pids))
                open_files.append(sum(len([*Path(f"/proc/{pid}/fd").iterdir()]) for pid in pids))
        steady = bytes_held[WARM_UP:]
        assert (steady[-1] - steady[0]) / len(steady) <= GROWTH_BYTES, steady
        assert open_files[-1] <= open_files[WARM_UP] + 2, open_files
        children = psutil.Process(node.process.pid).children(recursive=True)
        assert [each.pid for each in children] == [node.zygote]
