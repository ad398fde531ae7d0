"""The Open Inference door before a node: Triton's own clients, and plain HTTP."""

from __future__ import annotations

import json
import struct
import subprocess
import uuid

import httpx

from tests.nodes import GatewayProcess
from tests.programs import ROOT

JUDGE = ROOT / ".venv" / "triton" / "bin" / "python"


def test_tritons_clients(gateway: GatewayProcess) -> None:
    done = subprocess.run(
        [JUDGE, "tests/triton_client.py", gateway.http.partition("//")[2], gateway.grpc],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


def test_plain_http(gateway: GatewayProcess) -> None:
    url = f"{gateway.http}/v2/models/scaled/versions/1/infer"
    rows: dict[str, object] = {"name": "x", "datatype": "FP32", "shape": [1, 3]}
    answer = httpx.post(url, json={"inputs": [rows | {"data": [[1, 2, 3]]}]}, timeout=60)
    y = {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 4.0, 9.0]}
    assert answer.json()["outputs"] == [y]
    head = json.dumps(
        {
            "inputs": [rows | {"parameters": {"binary_data_size": 12}}],
            "parameters": {"binary_data_output": True},
        }
    )
    answer = httpx.post(
        url,
        content=head.encode() + struct.pack("<3f", 1, 2, 3),
        headers={"inference-header-content-length": str(len(head))},
        timeout=60,
    )
    length = int(answer.headers["inference-header-content-length"])
    assert struct.unpack("<3f", answer.content[length:]) == (1, 4, 9)


def test_an_id_that_is_a_uuid_is_answered_once(gateway: GatewayProcess) -> None:
    url = f"{gateway.http}/v2/models/echo/infer"

    def told(request_id: str, text: str) -> object:
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
        answer = httpx.post(url, json={"id": request_id, "inputs": [tensor]}, timeout=60)
        if answer.status_code != 200:
            return answer.status_code
        assert answer.json()["id"] == request_id
        return answer.json()["outputs"][0]["data"]

    own = str(uuid.uuid4())
    assert [told(own, "a"), told(own, "a"), told(own, "b")] == [["a"], ["a"], 409]
    assert [told("1", "a"), told("1", "b")] == [["a"], ["b"]]
