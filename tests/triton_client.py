"""Triton's own clients against a gateway; runs in an environment of its own, not in ours.

`python tests/triton_client.py HTTP GRPC`, both as host:port. Models: `scaled` (tensor), `echo`,
`tiny` (txt2embed).
"""

from __future__ import annotations

import sys
from queue import Queue
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

CAP_S = 60
ROWS = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
SCALED = ROWS * np.array([1, 2, 3], np.float32)
TEXTS = np.array([b"Hello", "Ünïcode".encode()], np.object_)


def tensor(kind: Any, name: str, array: Any, datatype: str, **more: Any) -> Any:
    made = kind.InferInput(name, [*array.shape], datatype)
    made.set_data_from_numpy(array, **more)
    return made


def refused(what: str, ask: Any) -> None:
    try:
        ask()
    except InferenceServerException as error:
        found = str(error)
    else:
        found = "nothing was refused"
    assert what in found, found


def check_server(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("scaled")
    assert client.is_model_ready("scaled", "1")


def check_vectors(kind: Any, client: Any) -> None:
    """The same texts have the same vectors, alone or not."""
    both = client.infer("tiny", [tensor(kind, "text", TEXTS, "BYTES")]).as_numpy("embedding")
    one = client.infer("tiny", [tensor(kind, "text", TEXTS[:1], "BYTES")]).as_numpy("embedding")
    assert both.dtype == np.float32
    assert both.shape[0] == 2
    assert both.shape[1] > 1
    assert np.allclose(both[:1], one, atol=1e-5)


def check_refusals(kind: Any, client: Any) -> None:
    rows = [tensor(kind, "x", ROWS, "FP32")]
    refused("none is not served", lambda: client.infer("none", rows))
    refused("is not served", lambda: client.infer("scaled", rows, model_version="9"))
    refused("the model takes text BYTES [-1]", lambda: client.infer("tiny", rows))
    refused("x FP32 [batch, 3]", lambda: client.infer("scaled", [*rows, *rows]))
    refused("strange", lambda: client.infer("scaled", rows, parameters={"strange": 1}))
    outputs = [kind.InferRequestedOutput("q")]
    refused("there is no q", lambda: client.infer("scaled", rows, outputs=outputs))
    refused("not served", lambda: client.load_model("none"))
    refused("as it is registered", lambda: client.load_model("scaled", config="{}"))


def over_http(address: str) -> None:
    kind = tritonclient.http
    # A connection for each of the three at once: with fewer, one that waits for its turn can be
    # overtaken by a later one, whose unread answer holds the connection, and the client hangs.
    client = kind.InferenceServerClient(
        address, concurrency=3, network_timeout=CAP_S, connection_timeout=CAP_S
    )
    check_server(client)
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    told = client.get_model_metadata("scaled")
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert told["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]
    for there in (True, False):
        rows = tensor(kind, "x", ROWS, "FP32", binary_data=there)
        for back in (True, False):
            for packed in (None, "gzip", "deflate"):
                found = client.infer(
                    "scaled",
                    [rows],
                    outputs=[kind.InferRequestedOutput("y", binary_data=back)],
                    request_compression_algorithm=packed,
                    response_compression_algorithm=packed,
                )
                assert np.array_equal(found.as_numpy("y"), SCALED)
    found = client.infer("scaled", [rows], request_id="7", priority=1, timeout=60_000_000)
    assert np.array_equal(found.as_numpy("y"), SCALED)
    assert found.get_response()["id"] == "7"
    waiting = [client.async_infer("scaled", [rows]) for _ in range(3)]
    assert all(np.array_equal(each.get_result().as_numpy("y"), SCALED) for each in waiting)
    for there in (True, False):
        texts = tensor(kind, "text", TEXTS, "BYTES", binary_data=there)
        assert [*client.infer("echo", [texts]).as_numpy("text")] == [*TEXTS]
    check_vectors(kind, client)
    check_refusals(kind, client)
    client.load_model("scaled")
    assert states(client.get_model_repository_index())["scaled"] == "READY"
    client.unload_model("scaled")
    assert states(client.get_model_repository_index())["scaled"] == "UNAVAILABLE"
    assert np.array_equal(client.infer("scaled", [rows]).as_numpy("y"), SCALED)
    client.close()


def states(index: Any) -> dict[str, str]:
    return {each["name"]: each["state"] for each in index}


def over_grpc(address: str) -> None:
    kind = tritonclient.grpc
    client = kind.InferenceServerClient(address)
    check_server(client)
    assert "model_repository" in client.get_server_metadata().extensions
    told = client.get_model_metadata("tiny")
    assert (told.inputs[0].name, told.inputs[0].datatype, [*told.inputs[0].shape]) == (
        "text",
        "BYTES",
        [-1],
    )
    assert told.outputs[0].shape[1] > 1
    rows = tensor(kind, "x", ROWS, "FP32")
    for packed in (None, "gzip", "deflate"):
        found = client.infer(
            "scaled", [rows], compression_algorithm=packed, request_id="7", client_timeout=CAP_S
        )
        assert np.array_equal(found.as_numpy("y"), SCALED)
        assert found.get_response().id == "7"
    texts = tensor(kind, "text", TEXTS, "BYTES")
    assert [*client.infer("echo", [texts]).as_numpy("text")] == [*TEXTS]
    check_vectors(kind, client)
    check_refusals(kind, client)
    client.load_model("scaled")
    index = client.get_model_repository_index().models
    assert {each.name: each.state for each in index}["scaled"] == "READY"
    client.unload_model("scaled")
    stream(kind, client, rows)
    client.close()


def stream(kind: Any, client: Any, rows: Any) -> None:
    """Answers come in the order of what was asked, refusals among them."""
    told: Queue[tuple[Any, Any]] = Queue()
    client.start_stream(callback=lambda result, error: told.put((result, error)))
    for number in range(20):
        name = "none" if number == 5 else "scaled"
        client.async_stream_infer(name, [rows], request_id=str(number))
    for number in range(20):
        result, error = told.get(timeout=CAP_S)
        if number == 5:
            assert "none is not served" in str(error)
        else:
            assert result.get_response().id == str(number), error
            assert np.array_equal(result.as_numpy("y"), SCALED)
    client.stop_stream()


if __name__ == "__main__":
    over_http(sys.argv[1])
    over_grpc(sys.argv[2])
    print("done")
