"""How many preloaded records a second pass through, beside the bare clients."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from uuid import uuid4

from modelmora.bench.peers import bare
from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage, appended_s, requests_of
from modelmora.wire import encode_request

RECORDS = 20_000
ROUNDS = 3
TEXT = "x" * 200


def echo_rate(stage: Stage) -> Figure:
    """Echo through an isolated child with ledger, against a bare Faust agent.

    The process is stopped while the records are laid before it, so that neither its start nor
    the producer's speed counts; the time runs from its going on to the last append.
    """
    rates: dict[str, list[float]] = {"modelmora": [], "faust": [], "aiokafka": [], "confluent": []}
    warm(stage)
    for _ in range(stage.scaled(ROUNDS)):
        rates["modelmora"].append(preloaded_rate(stage))
        for kind in ("faust", "aiokafka", "confluent"):
            rates[kind].append(_bare(stage, kind))
    beside = {name: median(values) for name, values in rates.items()}
    return Figure(
        "echo.rate_vs_faust",
        beside["modelmora"] / beside["faust"],
        "ratio",
        at_least(1.5),
        beside["faust"],
        beside,
    )


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


def _bare(stage: Stage, kind: str) -> float:
    name = f"bench-{kind}-{uuid4().hex[:8]}"
    source, target = stage.topic(f"{name}-in"), stage.topic(f"{name}-out")
    count = stage.scaled(RECORDS)
    values = [encode_request(request) for request in requests_of("echo", [TEXT] * count)]
    with bare(stage, kind, source, target) as pid, stage.frozen(pid) as go:
        tail = stage.tail(target)
        producer = stage.producer()
        for value in values:
            producer.produce(source, value, b"echo")
            producer.poll(0)
        producer.flush(60)
        began = go()
        answers = tail.take(count)
        tail.close()
    return _rate(began, [appended_s(message) for message in answers])


def _rate(began: float, appended: Sequence[float]) -> float:
    return len(appended) / (max(appended) - began)
