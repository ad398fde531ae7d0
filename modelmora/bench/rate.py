"""How many preloaded records a second pass through, beside the bare clients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from uuid import uuid4

from modelmora.bench.beside.peers import bare
from modelmora.bench.cpu import parts, spent
from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage, appended_s, requests_of
from modelmora.wire import encode_request

RECORDS = 20_000
ROUNDS = 3
BARE = ("faust", "aiokafka", "confluent")
TEXT = "x" * 200


def echo_rate(stage: Stage) -> list[Figure]:
    """Echo through an isolated child with ledger, against a bare Faust agent; and what it costs.

    The process is stopped while the records are laid before it, so that neither its start nor
    the producer's speed counts; the time runs from its going on to the last append. The CPU time
    is that of all the way, from the first record laid to the last answer read.
    """
    rates: dict[str, list[float]] = {"modelmora": [], **{kind: [] for kind in BARE}}
    costs: defaultdict[str, list[float]] = defaultdict(list)
    warm(stage)
    for _ in range(stage.scaled(ROUNDS)):
        with spent(parts(stage)) as cpu_s:
            rates["modelmora"].append(preloaded_rate(stage))
        for kind in BARE:
            found, cpu_s[kind] = _bare(stage, kind)
            rates[kind].append(found)
        for name, seconds in cpu_s.items():
            costs[name].append(seconds / stage.scaled(RECORDS) * 1e6)
    beside = {name: median(values) for name, values in rates.items()}
    ratio = beside["modelmora"] / beside["faust"]
    rate = Figure("echo.rate_vs_faust", ratio, "ratio", at_least(1.5), beside["faust"], beside)
    return [rate, *_costs({name: median(values) for name, values in costs.items()})]


def _costs(cpu_us: Mapping[str, float]) -> list[Figure]:
    """CPU time a request, by process; beside the node's that of the bare clients."""
    bare_us = {kind: cpu_us[kind] for kind in BARE}
    return [
        Figure(f"echo.cpu_us.{name}", value, "us", beside=bare_us if name == "node" else {})
        for name, value in cpu_us.items()
        if name not in BARE
    ]


def warm(stage: Stage) -> None:
    """Have one request answered, so that its model is loaded."""
    tail = stage.tail("modelmora.results")
    stage.send(requests_of("echo", [TEXT]))
    tail.take(1)
    tail.close()


def preloaded_rate(stage: Stage) -> float:
    """Echoes a second through ModelMora."""
    count = stage.scaled(RECORDS)
    tail = stage.tail("modelmora.results")
    with stage.frozen(stage.pid("node")) as go:
        stage.send(requests_of("echo", [TEXT] * count))
        began = go()
        answers = tail.take(count)
    tail.close()
    return _rate(began, [appended_s(message) for message in answers])


def _bare(stage: Stage, kind: str) -> tuple[float, float]:
    """Echoes a second of a bare client, and the CPU time (s) of its process."""
    name = f"bench-{kind}-{uuid4().hex[:8]}"
    source, target = stage.topic(f"{name}-in"), stage.topic(f"{name}-out")
    count = stage.scaled(RECORDS)
    values = [encode_request(request) for request in requests_of("echo", [TEXT] * count)]
    with (
        bare(stage, kind, source, target) as pid,
        spent({kind: [pid]}) as cpu_s,
        stage.frozen(pid) as go,
    ):
        tail = stage.tail(target)
        producer = stage.producer()
        for value in values:
            producer.produce(source, value, b"echo")
            producer.poll(0)
        producer.flush(60)
        began = go()
        answers = tail.take(count)
        tail.close()
    return _rate(began, [appended_s(message) for message in answers]), cpu_s[kind]


def _rate(began: float, appended: Sequence[float]) -> float:
    return len(appended) / (max(appended) - began)
