"""What is measured, told as records: every series once, then only what has changed."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge

from modelmora.kafka.writing.outbox import Record
from modelmora.settings import load_settings
from modelmora.telemetry.samples import Samples
from modelmora.wire import decode_sample


def test_what_has_changed_is_told_by_its_prometheus_name() -> None:
    registry, told = CollectorRegistry(), list[Record]()
    asked = Counter("asked", "", ("door",), registry=registry)
    Gauge("held_bytes", "", registry=registry).set(7)
    samples = Samples(load_settings(namespace="space"), registry, "node-1", told.append)
    asked.labels("rest").inc()
    samples.tell(1000)
    found = [decode_sample(record.value) for record in told]
    assert {(each.name, each.value) for each in found} == {("asked_total", 1), ("held_bytes", 7)}
    assert {tuple(each.labels.items()) for each in found} == {(("door", "rest"),), ()}
    assert {(each.node, each.time) for each in found} == {("node-1", 1000)}
    assert {(each.topic, each.key, each.optional) for each in told} == {
        ("space.metrics", b"node-1", True)
    }
    told.clear()
    samples.tell(2000)
    assert told == []
    asked.labels("rest").inc()
    asked.labels("grpc").inc()
    samples.tell(3000)
    found = [decode_sample(record.value) for record in told]
    assert {(each.labels["door"], each.value) for each in found} == {("rest", 2), ("grpc", 1)}


async def test_it_goes_on_where_a_measure_fails_and_never_begins_where_it_is_off() -> None:
    registry, told = CollectorRegistry(), list[Record]()
    gauge = Gauge("held", "", registry=registry)

    def fails() -> float:
        raise RuntimeError("planted")

    gauge.set_function(fails)
    told_again = asyncio.Event()

    def send(record: Record) -> None:
        told.append(record)
        told_again.set()

    settings = load_settings(timing={"metrics_s": 0.01})
    going = asyncio.create_task(Samples(settings, registry, "n", send).run())
    await asyncio.sleep(0.03)
    gauge.set_function(lambda: 3.0)
    async with asyncio.timeout(30):
        await told_again.wait()
    assert decode_sample(told[0].value).value == 3
    told.clear()
    off = asyncio.create_task(
        Samples(load_settings(timing={"metrics_s": 0}), registry, "n", told.append).run()
    )
    await asyncio.sleep(0.03)
    assert told == []
    assert not off.done()
    for task in (going, off):
        task.cancel()
    await asyncio.gather(going, off, return_exceptions=True)
