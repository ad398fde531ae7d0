"""25 models of five tasks on memory for five, and 20 at once, with real children."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from modelmora.bench.swap import LOOK_AHEAD, MODELS, PLACES, ROOM, SIZES, TASKS, shuffled
from modelmora.engines.catalog import entry_for
from modelmora.engines.entries import EngineEntry
from modelmora.messages import EventKind, InferenceRequest, Parameter, Timings
from modelmora.resources import private_memory
from modelmora.scheduling import ModelKey, ModelSpec, Need, Policy
from modelmora.serving import BrokerClock, Incoming, Service
from modelmora.simulate import belady
from modelmora.testing.fakes import UNIX_MS, FakeOutcomes, FakeRecord, incoming
from modelmora.wire import encode_outputs, encode_request
from modelmora.workers.supervisor import Supervisor

MIB = 1 << 20
SIZE = 76 * MIB
"""A child that holds 64 MiB, and the interpreter's own."""
AGEING_S = 60.0


def model(number: int, engine: str, size: int) -> tuple[ModelSpec, EngineEntry]:
    entry = entry_for("echo", testing=True)
    assert entry is not None
    task = TASKS[number % len(TASKS)]
    engine = f"tests.integration.worker_helpers:{engine}"
    spec = ModelSpec(f"m{number}", "1", task, engine, "", 0, False, declared=Need(size))
    return spec, replace(entry, task=task, engine=engine)


def request(number: int, name: str) -> Incoming:
    """Asks for an echo of the model's name."""
    made = InferenceRequest(f"r{number}", name, inputs=(name,))
    return incoming(f"r{number}", name, record=FakeRecord(value=encode_request(made)))


class Outcomes(FakeOutcomes):
    """Counts the answers that are the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.right = 0
        self.waits_s: list[float] = []
        self.changed = asyncio.Event()

    def completed(
        self,
        request: Incoming,
        model: ModelKey,
        outputs: bytes,
        settings: Mapping[str, Parameter],
        timings: Timings,
        attempt: int,
    ) -> None:
        self.right += outputs == encode_outputs([request.head.model]) and model == (
            request.head.model,
            "1",
        )
        self.waits_s.append(timings.total_ms / 1000)
        self.changed.set()


class Rig:
    """A service over real children, fed from a stream."""

    def __init__(self, policy: Policy) -> None:
        self.outcomes = Outcomes()
        clock = BrokerClock()
        clock.acknowledged(UNIX_MS, ("results", 0))
        self.clock = clock
        self.service = Service(self.outcomes, clock, policy, 600_000)
        self.workers = Supervisor(self.service.listener)
        self.service.use(self.workers)
        self.most_held = 0

    @property
    def loads(self) -> int:
        return sum(kind is EventKind.LOADING for kind, _, _ in self.outcomes.events)

    async def feed(self, stream: list[str], look_ahead: int) -> None:
        """Keep that many requests open until all have ended."""
        read = 0
        while self.outcomes.right < len(stream) and not self.outcomes.errors:
            while read < min(len(stream), self.outcomes.right + look_ahead):
                one = request(read, stream[read])
                one.record.timestamp = round(self.clock.now_ms())
                self.service.accept(one)
                read += 1
            self.service.arm()
            self.outcomes.changed.clear()
            await asyncio.wait_for(self.outcomes.changed.wait(), 120)

    async def sample(self) -> None:
        """Add up, again and again, what all children hold."""
        while True:
            held = await asyncio.to_thread(
                lambda: sum(private_memory(pid) for pid in [*self.workers.pids.values()])
            )
            self.most_held = max(self.most_held, held)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def rig(policy: Policy) -> AsyncIterator[Rig]:
    made = Rig(policy)
    await made.workers.start()
    await made.workers.zygote_ready()
    sampling = asyncio.create_task(made.sample())
    try:
        yield made
    finally:
        sampling.cancel()
        await made.workers.stop()


@pytest.mark.faults
@pytest.mark.timeout(1200)
async def test_a_shuffled_stream_for_25_models_on_memory_for_five() -> None:
    stream = shuffled()
    policy = Policy(cores=2, budget_bytes=PLACES * SIZE, ageing_s=AGEING_S)
    async with rig(policy) as running:
        running.service.serve([model(number, "Heavy", SIZE) for number in range(MODELS)])
        began = time.monotonic()
        await running.feed(stream, LOOK_AHEAD)
        took_s = time.monotonic() - began
    assert (running.outcomes.right, running.outcomes.errors) == (len(stream), {})
    assert 2 * 64 * MIB < running.most_held <= PLACES * SIZE
    assert max(running.outcomes.waits_s) <= AGEING_S + 10
    best = belady(stream, SIZES, ROOM, LOOK_AHEAD)
    print(f"{running.loads} loads in {took_s:.0f} s; who knows the future: {best}")
    assert running.loads <= 1.3 * best


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_20_small_models_are_loaded_at_once() -> None:
    async with rig(Policy(cores=2, budget_bytes=20 * SIZE)) as running:
        running.service.serve([model(number, "Sees", 20 * MIB) for number in range(20)])
        await running.feed([f"m{number}" for number in range(20)], 20)
        assert (running.outcomes.right, running.outcomes.errors) == (20, {})
        assert len(running.workers.pids) == 20
