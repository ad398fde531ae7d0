"""What an ONNX file tells of itself is what ONNX Runtime sees in it; what is broken is refused."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from modelmora.engines import LoadError
from modelmora.engines.graphs.graph import read_files, read_graph
from modelmora.errors import Code
from tests.tiny_graphs import (
    BFLOAT16,
    BOOL,
    FLOAT,
    INT64,
    STRING,
    make_graph,
    model,
    node,
    port,
    put,
    scaled,
    weights,
)

TYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64", "tensor(string)": "BYTES"}
X, Y = port("x", FLOAT, ["n"]), port("y", FLOAT, ["n"])


def of_library(name: str) -> Path:
    import onnxruntime

    return Path(onnxruntime.__file__).parent / "datasets" / name


@pytest.mark.parametrize("source", ["mul_1.onnx", "sigmoid.onnx", "scaled", "strings"])
def test_ports_are_those_that_the_runtime_sees(source: str, tmp_path: Path) -> None:
    import onnxruntime

    strings = [port("s", STRING, ["n", 2])], [port("t", STRING, ["n", 2])]
    made = {"scaled": scaled(), "strings": model([node("Identity", ["s"], ["t"])], *strings)}
    content = made.get(source) or of_library(source).read_bytes()
    graph = read_graph(make_graph(tmp_path, content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for ports, seen in (
        (graph.inputs, session.get_inputs()),
        (graph.outputs, session.get_outputs()),
    ):
        assert [(p.name, p.dtype, list(p.shape or ())) for p in ports] == [
            (s.name, TYPES[s.type], s.shape) for s in seen
        ]
    assert graph.weight_bytes == len(content)


def test_weights_that_older_graphs_list_as_inputs_are_none(tmp_path: Path) -> None:
    listed = model(
        [node("Mul", ["x", "w"], ["y"])], [X, port("w", FLOAT, [1])], [Y], [weights("w", [2])]
    )
    assert [p.name for p in read_graph(make_graph(tmp_path, listed)).inputs] == ["x"]


def test_the_facts_are_for_people(tmp_path: Path) -> None:
    told = read_files(make_graph(tmp_path, scaled()))
    assert told.facts == {"inputs": "x FP32 [batch, 3]", "outputs": "y FP32 [batch, 3]"}


def test_the_graph_is_found_where_exporters_put_it(tmp_path: Path) -> None:
    make_graph(tmp_path / "a" / "onnx", scaled())
    shutil.copytree(tmp_path / "a" / "onnx", tmp_path / "b")
    (tmp_path / "b" / "model.onnx").rename(tmp_path / "b" / "other.onnx")
    assert read_graph(tmp_path / "a").path == tmp_path / "a" / "onnx" / "model.onnx"
    assert read_graph(tmp_path / "b").path == tmp_path / "b" / "other.onnx"
    (tmp_path / "b" / "third.onnx").write_bytes(scaled())
    with pytest.raises(LoadError, match="several"):
        read_graph(tmp_path / "b")


def beside(location: str, **more: str) -> bytes:
    entries = {"location": location, **more}
    return model([node("Mul", ["x", "w"], ["y"])], [X], [Y], [weights("w", [2], entries)])


def test_weights_beside_the_graph_are_counted(tmp_path: Path) -> None:
    content = beside("model.onnx.data", offset="4", length="4")
    make_graph(tmp_path, content)
    with pytest.raises(LoadError, match="missing"):
        read_graph(tmp_path)
    (tmp_path / "model.onnx.data").write_bytes(bytes(7))
    with pytest.raises(LoadError, match="7 B and should have 8 B"):
        read_graph(tmp_path)
    (tmp_path / "model.onnx.data").write_bytes(bytes(8))
    assert read_graph(tmp_path).weight_bytes == len(content) + 8


@pytest.mark.row("F21")
@pytest.mark.parametrize("location", ["../w", "/etc/passwd", "a/../../w", "..", "", "a\\..\\w"])
def test_weights_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(bytes(8))
    with pytest.raises(LoadError, match="outside of the model's folder"):
        read_graph(make_graph(tmp_path / "m", beside(location)))


def attribute(name: str, number: int, value: bytes) -> bytes:
    return put(5, put(1, name) + put(number, value))


@pytest.mark.parametrize(
    "hidden",
    [
        node("If", ["x"], ["y"])
        + attribute("then_branch", 6, put(5, weights("v", [1], {"location": "../w"}))),
        node("Constant", [], ["y"])
        + attribute("value", 5, weights("v", [1], {"location": "/etc/passwd"})),
    ],
    ids=["branch", "constant"],
)
def test_weights_elsewhere_are_found_within_nodes(hidden: bytes, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="outside of the model's folder"):
        read_graph(make_graph(tmp_path, model([hidden], [X], [Y])))


def test_operators_of_others_are_refused_and_those_of_its_own_functions_are_not(
    tmp_path: Path,
) -> None:
    strange = model([node("Evil", ["x"], ["y"], "com.evil")], [X], [Y])
    with pytest.raises(LoadError, match=r"operators of 'com\.evil'") as refusal:
        read_graph(make_graph(tmp_path, strange))
    assert refusal.value.code is Code.CANNOT_BE_SERVED
    body = put(7, node("Abs", ["a"], ["b"])) + put(1, "Evil") + put(10, "com.evil")
    assert read_graph(make_graph(tmp_path, strange + put(25, body))).outputs
    nested = put(7, node("Worse", ["a"], ["b"], "com.worse")) + put(1, "Evil") + put(10, "com.evil")
    with pytest.raises(LoadError, match=r"com\.worse"):
        read_graph(make_graph(tmp_path, strange + put(25, nested)))


def test_what_does_not_travel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no tensor"):
        read_graph(make_graph(tmp_path, of_library("logreg_iris.onnx").read_bytes()))
    half = model([node("Abs", ["x"], ["y"])], [port("x", BFLOAT16, [1])], [Y])
    with pytest.raises(LoadError, match="does not travel"):
        read_graph(make_graph(tmp_path, half))


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    content = scaled()
    for length in range(len(content)):
        with pytest.raises(LoadError):
            read_graph(make_graph(tmp_path, content[:length]))


def test_damage_raises_nothing_else(tmp_path: Path) -> None:
    chance = random.Random(8)
    content = model(
        [node("If", ["x"], ["y"]) + attribute("t", 6, put(5, weights("v", [1])))],
        [X, port("b", BOOL, None), port("i", INT64, [])],
        [Y],
        [weights("w", [1, 2])],
    )
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            read_graph(make_graph(tmp_path, bytes(damaged)))
        except LoadError:
            continue


def test_graphs_within_graphs_have_an_end(tmp_path: Path) -> None:
    inner = b""
    for _ in range(2000):
        inner = put(1, node("If", ["x"], ["y"]) + attribute("t", 6, inner))
    with pytest.raises(LoadError, match="cut off or no ONNX file"):
        read_graph(make_graph(tmp_path, model([], [X], [Y]) + put(7, inner)))
