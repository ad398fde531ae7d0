"""gRPC through the topics to a model's process and back: streams, deadlines, who hangs up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelmora.cli import main
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.wire import new_request_id
from tests.nodes import PARTITIONS, GatewayProcess
from tests.stations import Station

CAP_S = 60


@pytest.fixture(scope="module")
def stub(gateway: GatewayProcess) -> Iterator[Any]:
    with grpc.insecure_channel(gateway.grpc) as channel:
        yield pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]


def counting(words: int, ms: float = 0.0, **more: Any) -> Any:
    parameters = {"words": pb.Parameter(int_value=words), "ms": pb.Parameter(double_value=ms)}
    inputs = [pb.Content(text="x")]
    return pb.InferRequest(model="single", inputs=inputs, parameters=parameters, **more)


def has_text(event: Any) -> bool:
    return bool(event.progress.text)


def test_a_stream_tells_the_words_as_they_are_said(stub: Any) -> None:
    events = [*stub.InferServerStream(counting(60, 5), timeout=CAP_S)]
    said = [event.progress.text for event in events if has_text(event)]
    assert len(said) > 1
    assert "".join(said) == events[-1].result.outputs[0].text
    stages = [event.progress.stage for event in events if event.HasField("progress")]
    assert stages[0] == "ACCEPTED"
    assert "STARTED" in stages
    assert [event.end for event in events].count(True) == 1
    assert events[-1].end


@pytest.mark.parametrize("way", ["cancel", "deadline"])
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_the_process_stops_working_for_who_is_gone(
    way: str, many: bool, station: Station, stub: Any
) -> None:
    request_id = new_request_id(PARTITIONS)
    endless = counting(100_000, 5, request_id=request_id, progress=True)
    timeout = 3 if way == "deadline" else None
    call = (
        stub.InferStream(iter([endless]), timeout=timeout)
        if many
        else stub.InferServerStream(endless, timeout=timeout)
    )
    assert any(map(has_text, call)), "it is being worked on"
    if way == "cancel":
        call.cancel()
    (end,) = station.seen.answers([request_id])
    assert end.error
    assert end.error.code in ("cancelled", "expired")
    after = stub.Infer(counting(3), timeout=CAP_S)
    assert after.outputs[0].text == "0 1 2 "


def test_many_on_one_stream_through_the_topics(stub: Any) -> None:
    inputs = [pb.Content(data=bytes([number]) * 280_000) for number in range(20)]
    requests = [pb.InferRequest(model="echo", inputs=[each]) for each in inputs]
    requests[7] = pb.InferRequest(model="nobody", inputs=[pb.Content(text="x")])
    found: dict[int, bytes] = {}
    for event in stub.InferStream(iter(requests), timeout=CAP_S):
        if event.HasField("error"):
            assert event.index == 7
        found[event.index] = found.get(event.index, b"") + event.chunk.data
    assert sorted(found) == list(range(20))
    for number, data in found.items():
        assert data == (b"" if number == 7 else inputs[number].data)


def test_the_shell_asks_in_bulk_and_in_jobs(
    gateway: GatewayProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, rows, out = ["--url", gateway.http], tmp_path / "in.txt", tmp_path / "out.jsonl"
    rows.write_bytes(b"".join(b"row %d\n" % number for number in range(1_000)) + b"\xff\n")
    bulk = ["--file", str(rows), "--out", str(out), "--grpc", gateway.grpc, *url]
    assert main(["infer", "echo", *bulk]) == 1, capsys.readouterr().err
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [each.get("output") for each in told] == [*(f"row {n}" for n in range(1_000)), None]
    capsys.readouterr()
    assert main(["infer", "nobody", *bulk[:3], str(tmp_path / "no.jsonl"), *bulk[4:]]) == 3
    err = capsys.readouterr().err
    assert "nobody" in err
    assert "done" not in err, "nothing was"
    assert main(["jobs", "submit", "count", "x", "--param", "words=3", *url]) == 0
    job_id = capsys.readouterr().out.strip()
    assert main(["jobs", "show", job_id, "--wait", "60", *url]) == 0
    assert f"{job_id}  completed  count@1\n" in capsys.readouterr().out
    assert main(["jobs", "result", job_id, *url]) == 0
    assert capsys.readouterr().out == "0 1 2 \n"
