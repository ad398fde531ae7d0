"""The example client: its retries, its circuit breaker, and its calls against a real server."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from tests.miraveja import compiled
from tests.unit.gateway.fakes import FakeHall

EXAMPLE = Path(__file__).parents[4] / "docs/examples/miraveja_client.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("miraveja_client", EXAMPLE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Failed(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    def __init__(self, status: grpc.StatusCode, **told: str) -> None:
        super().__init__()
        self._status = status
        self._told = {name.replace("_", "-"): value for name, value in told.items()}

    def code(self) -> grpc.StatusCode:
        return self._status

    def trailing_metadata(self) -> Any:
        return tuple(self._told.items())


class Method:
    """Fails as it is told to, then answers."""

    def __init__(self, *failures: Failed) -> None:
        self.failures = [*failures]
        self.timeouts: list[float] = []

    def __call__(self, request: str, timeout: float) -> str:
        self.timeouts.append(timeout)
        if self.failures:
            raise self.failures.pop(0)
        return request


GONE = Failed(grpc.StatusCode.UNAVAILABLE)
BUSY = Failed(
    grpc.StatusCode.UNAVAILABLE, modelmora_error_code="busy", modelmora_retry_after_ms="2000"
)


def test_it_comes_again_within_its_deadline(example: ModuleType) -> None:
    pauses: list[float] = []
    method = Method(GONE, BUSY, GONE)
    assert example.Caller(sleep=pauses.append).call(method, "x", 30) == "x"
    assert len(pauses) == 3
    assert pauses[1] >= 1
    assert 30 >= method.timeouts[0] >= method.timeouts[-1] > 0
    method = Method(BUSY)
    with pytest.raises(grpc.RpcError):
        example.Caller(sleep=pauses.append).call(method, "x", 0.5)
    assert len(method.timeouts) == 1, "there was no time for a second"


def test_what_is_refused_is_not_asked_again(example: ModuleType) -> None:
    method = Method(Failed(grpc.StatusCode.INVALID_ARGUMENT, modelmora_error_code="invalid_input"))
    with pytest.raises(Failed):
        example.Caller().call(method, "x")
    assert len(method.timeouts) == 1


def test_the_circuit_opens_and_is_probed(example: ModuleType) -> None:
    now = 0.0
    breaker = example.Breaker(failures=2, rest_s=10, clock=lambda: now)
    caller = example.Caller(breaker, sleep=lambda _: None)
    with pytest.raises(example.Open):
        caller.call(Method(*[GONE] * 9), "x")
    untouched = Method()
    with pytest.raises(example.Open):
        caller.call(untouched, "x")
    assert not untouched.timeouts
    now = 10.0
    with pytest.raises(example.Open):  # the probe fails
        caller.call(Method(GONE, GONE), "x")
    now = 20.0
    breaker.check()
    with pytest.raises(example.Open):  # only one probe at a time
        breaker.check()
    now = 30.0
    assert caller.call(Method(BUSY), "x") == "x", "who is busy is well"
    breaker.check()


def test_a_batch_tells_which_failed(example: ModuleType) -> None:
    def method(*_: Any, **__: Any) -> Any:
        yield from ("a", "c")
        raise Failed(grpc.StatusCode.UNAVAILABLE, modelmora_failed_items="1=busy")

    assert [*example.batch(method, None, 3)] == ["a", "busy", "c"]

    def broken(*_: Any, **__: Any) -> Any:
        yield "a"
        raise GONE

    with pytest.raises(Failed):
        [*example.batch(broken, None, 2)]


async def test_it_runs_as_it_stands(hall: FakeHall, address: str) -> None:
    hall.refuses = lambda ask: ask.inputs == ("bad",)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        address,
        "a sea",
        "bad",
        env={**os.environ, "PYTHONPATH": str(compiled())},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        told, _ = await process.communicate()
    assert told.decode().splitlines() == ["first vectors@1 2", "a sea: 3 ms", "busy"]
    assert process.returncode == 0
