"""The tensor engine gives what ONNX Runtime gives, alone and joined, and refuses what it must."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from modelmora.engines import LoadError
from modelmora.engines.catalog import CATALOG
from modelmora.engines.graphs.graph import read_graph
from modelmora.errors import Code, RequestError
from modelmora.messages import Content, InferenceRequest, Tensor
from modelmora.wire.tensors import elements, framed
from tests.tiny_graphs import FLOAT, INT64, STRING, make_graph, model, node, port, scaled

if TYPE_CHECKING:
    from modelmora.engines.graphs.tensor import Tensors


def loaded(folder: Path, content: bytes, **options: Any) -> Tensors:
    from modelmora.engines.graphs.tensor import Tensors

    engine = Tensors()
    engine.load(make_graph(folder, content), options)
    return engine


def floats(name: str, values: Any) -> Tensor:
    array = np.array(values, "<f4")
    return Tensor(name, "FP32", array.shape, array.tobytes())


ROW = floats("x", [[1, 2, 3]])


def compute(
    engine: Tensors, requests: Sequence[Sequence[Content]]
) -> tuple[list[Sequence[Content] | RequestError], list[int]]:
    """The outputs or the refusal of each, and how many requests were in each batch."""
    made = [InferenceRequest(f"r{i}", "m", tuple(inputs)) for i, inputs in enumerate(requests)]
    plan = engine.plan(list(enumerate(made)), {})
    answers: dict[int, Sequence[Content] | RequestError] = dict(plan.refused)
    for batch in plan.batches:
        for row, output in zip(batch, engine.run(batch, {}), strict=True):
            finished = engine.finish(made[row.index], [output])
            answers[row.index] = list(finished)
    return [answers[i] for i in range(len(requests))], [len(batch) for batch in plan.batches]


def test_joined_requests_get_what_they_get_alone(tmp_path: Path) -> None:
    engine = loaded(tmp_path, scaled())
    chance = np.random.default_rng(3)
    arrays = [chance.random((rows, 3), "f4") for rows in (1, 4, 0, 1, 31, 40, 2)]
    joined, sizes = compute(engine, [[floats("x", array)] for array in arrays])
    assert sizes == [4, 1, 1, 1]
    assert joined == [[floats("y", array * np.array([1, 2, 3], "f4"))] for array in arrays]
    alone = [compute(engine, [[floats("x", array)]])[0][0] for array in arrays]
    assert joined == alone


def test_an_axis_of_fixed_size_is_not_joined(tmp_path: Path) -> None:
    engine = loaded(tmp_path, scaled(batch=2))
    answers, sizes = compute(engine, [[floats("x", [[1, 1, 1]] * 2)]] * 3)
    assert sizes == [1, 1, 1]
    assert answers == [[floats("y", [[1, 2, 3]] * 2)]] * 3


def test_axes_of_other_names_are_not_joined(tmp_path: Path) -> None:
    total = model(
        [node("ReduceSum", ["x"], ["y"])], [port("x", FLOAT, ["n"])], [port("y", FLOAT, [1])]
    )
    answers, sizes = compute(loaded(tmp_path, total), [[floats("x", [1, 2])], [floats("x", [3])]])
    assert sizes == [1, 1]
    assert answers == [[floats("y", [3])], [floats("y", [3])]]


def test_the_option_batch_keeps_requests_apart(tmp_path: Path) -> None:
    assert compute(loaded(tmp_path, scaled(), batch=1), [[floats("x", [[1, 1, 1]])]] * 2)[1] == [
        1,
        1,
    ]


def test_strings_come_and_go(tmp_path: Path) -> None:
    ports = [port("s", STRING, ["n", 2])], [port("t", STRING, ["n", 2])]
    engine = loaded(tmp_path, model([node("Identity", ["s"], ["t"])], *ports))
    words = ["a", "", "naïve 東京", "x" * 300]
    data = b"".join(framed(word.encode()) for word in words)
    (outputs,), _ = compute(engine, [[Tensor("s", "BYTES", (2, 2), data)]])
    assert isinstance(outputs, list)
    (out,) = outputs
    assert (out.name, out.dtype, out.shape) == ("t", "BYTES", (2, 2))
    assert [element.decode() for element in elements(out.data)] == words
    ((refused,), _) = compute(engine, [[Tensor("s", "BYTES", (1, 2), framed(b"\xff") * 2)]])
    assert isinstance(refused, RequestError)
    assert "no UTF-8" in refused.message


@pytest.mark.parametrize(
    ("dtype", "code", "onnx"),
    [
        ("BOOL", "?", 9),
        ("UINT8", "u1", 2),
        ("INT16", "<i2", 5),
        ("UINT64", "<u8", 13),
        ("FP16", "<f2", 10),
        ("FP64", "<f8", 11),
    ],
)
def test_every_type_comes_and_goes(dtype: str, code: str, onnx: int, tmp_path: Path) -> None:
    ports = [port("a", onnx, ["n"])], [port("b", onnx, ["n"])]
    engine = loaded(tmp_path, model([node("Identity", ["a"], ["b"])], *ports))
    data = np.array([0, 1, 1], code).tobytes()
    answers, _ = compute(engine, [[Tensor("a", dtype, (3,), data)]])
    assert answers == [[Tensor("b", dtype, (3,), data)]]


def test_a_scalar_comes_and_goes(tmp_path: Path) -> None:
    ports = [port("a", FLOAT, [])], [port("b", FLOAT, [])]
    engine = loaded(tmp_path, model([node("Abs", ["a"], ["b"])], *ports))
    assert compute(engine, [[floats("a", -2)]])[0] == [[floats("b", 2)]]


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ([], "there is no input 'x'"),
        (["text"], "an input is str, and not a tensor"),
        ([b"\x00"], "an input is bytes, and not a tensor"),
        ([ROW, ROW], "two inputs are named 'x'"),
        ([ROW, floats("z", [1])], "the model has no input 'z'"),
        ([floats("X", [[1, 2, 3]])], "there is no input 'x'"),
        ([Tensor("x", "FP64", (1, 3), bytes(24))], r"'x' is FP64 \[1, 3\]"),
        ([Tensor("x", "nonsense", (1, 3), bytes(24))], r"'x' is nonsense \[1, 3\]"),
        ([floats("x", [[1, 2]])], r"'x' is FP32 \[1, 2\]"),
        ([floats("x", [1, 2, 3])], r"'x' is FP32 \[3\]"),
        ([Tensor("x", "FP32", (1, 3), bytes(11))], "data has 11"),
        ([Tensor("x", "FP32", (-1, 3), bytes(0))], "no negative sizes"),
        ([Tensor("x", "FP32", (1 << 60, 3), bytes(0))], "data has 0"),
    ],
)
def test_what_the_model_does_not_take_is_refused_with_what_it_takes(
    inputs: Sequence[Content], fault: str, tmp_path: Path
) -> None:
    (refused, fine), _ = compute(loaded(tmp_path, scaled()), [inputs, [ROW]])
    assert isinstance(refused, RequestError)
    assert refused.code is Code.INVALID_INPUT
    assert re.search(fault, refused.message), refused.message
    assert "the model takes x FP32 [batch, 3]" in refused.message
    assert fine == [floats("y", [[1, 4, 9]])]


def test_one_name_of_an_axis_is_one_size(tmp_path: Path) -> None:
    pair = model(
        [node("Add", ["a", "b"], ["c"])],
        [port("a", INT64, ["n", "m"]), port("b", INT64, ["n", "m"])],
        [port("c", INT64, ["n", "m"])],
    )
    one = struct.pack("<q", 1)
    inputs = [Tensor("a", "INT64", (1, 2), one * 2), Tensor("b", "INT64", (1, 1), one)]
    ((refused,), _) = compute(loaded(tmp_path, pair), [inputs])
    assert isinstance(refused, RequestError)
    assert "'b' is INT64 [1, 1]" in refused.message


@pytest.mark.parametrize(
    ("options", "fault", "code"),
    [
        ({"providers": ["cuda"]}, "provider cuda cannot be used here", Code.MODEL_UNAVAILABLE),
        ({"providers": "qnn"}, "takes cpu, cuda, tensorrt", Code.CANNOT_BE_SERVED),
        (
            {"intra_op": "two"},
            "must be an integer from 0 to 1024",
            Code.CANNOT_BE_SERVED,
        ),
        ({"intra_op": -1}, "must be an integer from 0 to 1024", Code.CANNOT_BE_SERVED),
    ],
)
def test_options_that_cannot_be(
    options: dict[str, Any], fault: str, code: Code, tmp_path: Path
) -> None:
    with pytest.raises(LoadError, match=fault) as refusal:
        loaded(tmp_path, scaled(), **options)
    assert refusal.value.code is code


def test_a_graph_that_lies_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    lies = model(
        [node("Abs", ["nowhere"], ["y"])], [port("x", FLOAT, [1])], [port("y", FLOAT, [1])]
    )
    with pytest.raises(LoadError, match=r"cannot read model\.onnx") as refusal:
        loaded(tmp_path, lies)
    assert refusal.value.code is Code.CANNOT_BE_SERVED


def test_threads_only_grow_and_results_stay(tmp_path: Path) -> None:
    engine = loaded(tmp_path, scaled())
    before = compute(engine, [[ROW]])
    for count in (1, 2, 1, 0):
        engine.use_threads(count)
        assert compute(engine, [[ROW]]) == before


def test_a_smaller_share_of_the_cores_is_taken_up_once_it_has_lasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelmora.engines.graphs import session

    inner = session.Session(read_graph(make_graph(tmp_path, scaled())), {})
    feeds = {"x": np.ones((1, 3), "f4")}
    told: list[int] = []
    opened = inner._open

    def noted() -> Any:
        told.append(inner._threads)
        return opened()

    monkeypatch.setattr(inner, "_open", noted)
    inner.use_threads(2)
    inner.use_threads(1)
    monkeypatch.setattr(session, "_WORTH", 1e9)
    before = inner.run(feeds)
    assert told == [2]
    monkeypatch.setattr(session, "_WORTH", 0)
    assert np.array_equal(inner.run(feeds), before)
    assert told == [2, 1]
    (tmp_path / "model.onnx").touch()
    inner.use_threads(2)
    assert np.array_equal(inner.run(feeds), before)
    assert told == [2, 1], "files that are others now are not read"


def test_the_zygote_does_not_import_the_runtime() -> None:
    modules = ", ".join(CATALOG["tensor"].modules)
    code = f"import sys, {modules}; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


WITHOUT_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from modelmora.engines.graphs.graph import read_graph
from modelmora.engines.graphs.session import Session
session = Session(read_graph(Path(sys.argv[1])), {})
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
try:
    session.run({"x": np.zeros((60_000, 1), "f4"), "y": np.zeros((1, 60_000), "f4")})
except MemoryError:
    print("MemoryError", session.run({"x": np.ones((1, 1), "f4"), "y": np.ones((1, 1), "f4")}))
"""


def test_memory_that_runs_out_is_told_as_such_and_the_session_lives(tmp_path: Path) -> None:
    table = model(
        [node("Add", ["x", "y"], ["z"])],
        [port("x", FLOAT, ["n", 1]), port("y", FLOAT, [1, "m"])],
        [port("z", FLOAT, ["n", "m"])],
    )
    command = [sys.executable, "-c", WITHOUT_MEMORY, str(make_graph(tmp_path, table))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("MemoryError [array([[2.]]")
    assert not done.stderr
