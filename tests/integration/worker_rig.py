"""What the worker tests share: a recorder of events, groups made by hand, and a node to kill."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from modelmora.errors import Code
from modelmora.messages import Content, InferenceRequest, Parameter
from modelmora.sandbox import Mode
from modelmora.settings import Runtime
from modelmora.wire import encode_request
from modelmora.workers import (
    NOTHING_TOLD,
    Batches,
    Chunk,
    ExitReport,
    Held,
    ItemResult,
    Told,
)
from modelmora.workers.supervisor import Supervisor

CAP_S = 120.0


@dataclass(frozen=True, slots=True)
class Spec:
    """A model to load."""

    name: str = "echo"
    version: str = "1"
    task: str = "echo"
    engine: str = "modelmora.testing.engines:Echo"
    path: str = ""
    adapter: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    unchanged: tuple[tuple[str, int, int, int], ...] = ()
    runtime: str | None = None
    warm_up: bytes | None = None


def spec_of(name: str) -> Spec:
    """The spec of a test engine."""
    return Spec(name, task=name, engine=f"modelmora.testing.engines:{name.capitalize()}")


@dataclass(frozen=True, slots=True)
class Meta:
    """What travels beside a request."""

    parameters: Mapping[str, Parameter]
    principal: str = "local"
    traceparent: str | None = None
    told: Told = NOTHING_TOLD


@dataclass(frozen=True, slots=True)
class Work:
    """One request as the node holds it."""

    request_id: str
    value: bytes
    meta: Meta


@dataclass(frozen=True, slots=True)
class Group:
    """Works for one replica."""

    id: int
    replica: int
    works: tuple[Work, ...]
    threads: int = 1


def group(
    number: int, replica: int, requests: Sequence[Sequence[Content]], **parameters: Parameter
) -> Group:
    """A group of requests with these inputs."""
    meta = Meta(parameters)
    works = []
    for i, inputs in enumerate(requests):
        request = InferenceRequest(
            request_id=f"g{number}-{i}",
            model="m",
            task=None,
            parameters=parameters,
            timeout_ms=None,
            progress=False,
            inputs=tuple(inputs),
        )
        works.append(Work(request.request_id, encode_request(request), meta))
    return Group(number, replica, tuple(works))


class Recorder:
    """Notes every event and lets a test wait for one."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.chunks: dict[int, list[Chunk]] = {}
        self.results: dict[int, dict[int, ItemResult]] = {}
        self.info: dict[int, Mapping[str, object]] = {}
        self.refused: dict[int, tuple[Code, str]] = {}
        self.held: dict[int, Held] = {}
        self.reports: dict[int, list[ExitReport]] = {}
        self.zygotes: list[int | None] = []
        self._changed = asyncio.Event()

    async def wait(self, kind: str, number: int) -> None:
        """Until this kind of event was seen for this replica (or group)."""
        await self.until(lambda: (kind, number) in self.log)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until a condition holds; looked at after each event."""
        async with asyncio.timeout(CAP_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _note(self, kind: str, number: int) -> None:
        self.log.append((kind, number))
        self._changed.set()

    def on_loaded(self, replica: int, info: Mapping[str, object], load_ms: float) -> None:
        assert load_ms > 0
        self.info[replica] = info
        self._note("loaded", replica)

    def on_load_failed(self, replica: int, code: Code, message: str) -> None:
        self.refused[replica] = (code, message)
        self._note("load_failed", replica)

    def on_started(self, replica: int, group: int) -> None:
        self._note("started", group)

    def on_results(self, replica: int, group: int, results: Sequence[ItemResult]) -> None:
        seen = self.results.setdefault(group, {})
        for result in results:
            assert result.index not in seen
            seen[result.index] = result
        self._note("results", group)

    def on_chunk(self, replica: int, group: int, chunk: Chunk) -> None:
        self.chunks.setdefault(group, []).append(chunk)
        self._note("chunk", group)

    def on_batches(self, replica: int, batches: Batches) -> None:
        assert batches.rows >= sum(batches.counts) > 0
        self._note("batches", replica)

    def on_group_done(self, replica: int, group: int, run_ms: float) -> None:
        assert run_ms >= 0
        self._note("done", group)

    def on_exited(self, replica: int, report: ExitReport) -> None:
        self.reports.setdefault(replica, []).append(report)
        self._note("exited", replica)

    def on_memory(self, replica: int, held: Held) -> None:
        self.held[replica] = held
        self._note("memory", replica)

    def on_zygote(self, pid: int | None) -> None:
        self.zygotes.append(pid)
        self._note("zygote", pid or 0)

    def codes(self, number: int) -> list[Code | None]:
        """The error codes of a group's answers, in order; None where it was computed."""
        answers = self.results.get(number, {})
        return [error.code if (error := answers[i].error) else None for i in sorted(answers)]


@asynccontextmanager
async def supervised(
    modules: Sequence[str] = (),
    *,
    sandbox: Mode = Mode.BEST_EFFORT,
    runtimes: Mapping[str, Runtime] | None = None,
) -> AsyncIterator[tuple[Supervisor, Recorder]]:
    """A started supervisor that is stopped again, and what it reports."""
    recorder = Recorder()
    supervisor = Supervisor(
        recorder, on_zygote=recorder.on_zygote, sandbox=sandbox, runtimes=runtimes
    )
    supervisor.preload(modules)
    await supervisor.start()
    try:
        yield supervisor, recorder
    finally:
        await supervisor.stop()


async def load(supervisor: Supervisor, recorder: Recorder, replica: int, spec: Spec) -> None:
    """Load a model and wait until it is."""
    supervisor.load(replica, spec)
    await recorder.wait("loaded", replica)


async def answers(supervisor: Supervisor, recorder: Recorder, one: Group) -> list[bytes | None]:
    """Run a group to its end; the outputs in order."""
    supervisor.run(one)
    await recorder.wait("done", one.id)
    results = recorder.results[one.id]
    assert sorted(results) == list(range(len(one.works)))
    return [results[i].outputs for i in sorted(results)]


async def _node() -> None:
    """Be a node with an idle, a sleeping and a hanging child; say all pids and wait."""
    async with supervised() as (supervisor, recorder):
        for replica, name in enumerate(("echo", "sleep", "hang")):
            supervisor.load(replica, spec_of(name))
            await recorder.wait("loaded", replica)
        supervisor.run(group(1, 1, [["a"]], ms=600_000.0))
        supervisor.run(group(2, 2, [["a"]]))
        await recorder.wait("started", 1)
        await recorder.wait("started", 2)
        pids = [supervisor.zygote_pid, *supervisor.pids.values()]
        sys.stdout.write(json.dumps(pids) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_node())
