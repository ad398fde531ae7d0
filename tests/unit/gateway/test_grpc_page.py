"""What docs/howto/grpc.md says to type runs, against a real server before a hall that is none."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.metrics import Metrics
from modelmora.messages import ProgressEvent, ProgressStage, Tensor
from modelmora.rpc.v1 import inference_pb2
from tests.unit.gateway.fakes import FakeHall

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/howto/grpc.md").read_text()
PROGRAMS = dict(
    re.findall(r'^```python title="(\w+)\.py"\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
)
LINES = re.findall(r"^grpcurl .*$", PAGE, re.MULTILINE)
TOLD = {
    "stream": "Paris.\n",
    "chunks": "{0: 600000}\n",
    "many": "Kafka is a log. tensor\nA river is not. tensor\n",
    "errors": "NOT_FOUND unknown_model\n",
}
GRPCURL = shutil.which("grpcurl") or shutil.which(Path.home() / "go/bin/grpcurl")


@pytest.fixture
async def address() -> AsyncIterator[str]:
    hall = FakeHall()
    vector = Tensor("embedding", "FP32", (1, 1), b"\0\0\0\0")
    hall.answers = {"all-minilm-l6-v2": (vector,), "sdxl": (bytes(600_000),)}
    hall.answers["smollm2-135m-instruct"] = ("Paris.",)
    hall.events = (ProgressEvent("r", ProgressStage.CHUNK, "m@1", chunk=b"Par"),)
    server = RpcServer(hall, Metrics(), 1_000_000)
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def ran(*words: str) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=pipe, cwd=ROOT)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("name", PROGRAMS)
async def test_programs(name: str, address: str) -> None:
    program = PROGRAMS[name].replace("localhost:9090", address)
    told = (await ran(sys.executable, "-c", program)).splitlines()
    assert sorted(told) == sorted(TOLD[name].splitlines()), "answers of many come as they come"


@pytest.mark.skipif(GRPCURL is None, reason="grpcurl is not installed; docs/howto/grpc.md says how")
async def test_lines_of_grpcurl(address: str) -> None:
    told = [
        await ran(GRPCURL or "", *shlex.split(line.replace("localhost:9090", address))[1:])
        for line in LINES
    ]
    assert len(told) == 10
    assert "modelmora.v1.InferenceService\n" in told[0]
    assert "rpc InferStream ( stream" in told[1]
    assert '"dtype": "FP32"' in told[2]
    assert '"text": "Par"' in told[3]
    assert {*re.findall(r'"index": "(\d)"', told[4])} <= {"0", "1"}
    assert told[4].count('"end": true') == 2
    assert '"state": "queued"' in told[7]
    assert '"state": "completed"' in told[8]
    assert '"dtype": "FP32"' in told[9]


def test_the_page_names_every_method() -> None:
    service = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"]
    assert all(f"`{method.name}`" in PAGE for method in service.methods)
