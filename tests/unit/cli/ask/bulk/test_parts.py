"""What was written is gone on with, cut anywhere, and ends as if nothing had been."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from pyarrow import parquet

from modelmora.cli.ask.bulk.parts import Part, part_of
from modelmora.cli.ask.bulk.values import Failure, Value, Vector, values_of
from modelmora.errors import ConfigurationError, Conflict, MissingExtra, ModelMoraError
from modelmora.messages import Tensor
from tests.unit.cli.ask.bulk.doubles import numbers_of, vector_of

BAD = Failure("invalid_input", "no")
VALUES: list[Value] = [BAD, *(Vector(vector_of(str(n))) for n in range(6)), BAD]


def write(target: Path, values: Sequence[Value], *, finish: bool = True) -> None:
    part = part_of(target)
    for value in values[part.rows :]:
        part.append([value])
    if finish:
        part.finish()
    part.close()


@pytest.mark.parametrize("ending", ["jsonl", "npy", "parquet"])
def test_cut_anywhere_it_goes_on(tmp_path: Path, ending: str) -> None:
    whole = tmp_path / f"whole.{ending}"
    write(whole, VALUES)
    target = tmp_path / f"cut.{ending}"
    part = Path(f"{target}.part")
    write(target, VALUES, finish=False)
    size = part.stat().st_size
    for at in {*range(0, size, 7), 127, 128, 129, size}:
        write(target, VALUES, finish=False)
        os.truncate(part, min(at, size))
        write(target, VALUES[:5], finish=False)
    made = part_of(target)
    assert (made.rows, made.failures) == (8, 2) if at == size else made.rows <= 8
    made.close()
    write(target, VALUES)
    assert target.read_bytes() == whole.read_bytes()
    assert not part.exists()
    if ending == "npy":
        told = Path(f"{target}.errors.jsonl").read_text()
        assert [json.loads(line)["row"] for line in told.splitlines()] == [0, 7]


def test_a_matrix_is_numpys_own(tmp_path: Path) -> None:
    target = tmp_path / "out.npy"
    write(target, VALUES)
    found = numpy.load(target)
    assert (found.dtype, found.shape) == (numpy.float32, (8, 4))
    assert numpy.isnan(found[[0, 7]]).all()
    assert found[1:7].tolist() == [numbers_of(str(n)) for n in range(6)]
    for name, values in (("none", []), ("failed", [BAD, BAD])):
        target = tmp_path / f"{name}.npy"
        write(target, values)
        assert numpy.load(target).shape == (len(values), 0)
        assert Path(f"{target}.errors.jsonl").exists() == bool(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([Vector(vector_of("a")), BAD], [numbers_of("a"), None]),
        (["text", BAD], ["text", None]),
        ([BAD, {"scores": [1.0]}], [None, '{"scores":[1.0]}']),
        ([], []),
    ],
)
def test_a_table_has_one_kind_of_output(
    tmp_path: Path, values: list[Value], expected: list[Any]
) -> None:
    target = tmp_path / "out.parquet"
    write(target, values)
    told = parquet.read_table(target).to_pylist()
    assert [row["output"] for row in told] == expected
    assert [row["row"] for row in told] == list(range(len(values)))
    assert {row["error"] for row in told} <= {None, "invalid_input: no"}
    assert list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.jsonl"
    part = part_of(target)
    with pytest.raises(Conflict, match="written by another run"):
        part_of(target)
    part.finish()
    part.close()
    with pytest.raises(ConfigurationError, match="is there already"):
        part_of(target)
    with pytest.raises(ConfigurationError, match=r"must end in .jsonl, .npy, .parquet"):
        part_of(tmp_path / "out.txt")
    with pytest.raises(ConfigurationError, match="No such file or directory; name another"):
        part_of(tmp_path / "none" / "out.jsonl")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="`parquet` extra"):
        part_of(tmp_path / "out.parquet")


def test_what_a_matrix_does_not_take(tmp_path: Path) -> None:
    for values, words in (
        (["text"], "no vectors; name a .jsonl"),
        ([Vector(b"1234"), Vector(b"12345678")], "several lengths"),
    ):
        part = part_of(tmp_path / "out.npy")
        with pytest.raises(ModelMoraError, match=words):
            part.append(values)
        part.close()


def test_a_full_disk_is_said_and_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.jsonl"
    part: Part = part_of(target)
    part.append(["a"])
    real: Callable[[int, Any], int] = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(ModelMoraError, match="No space left on device; the same command"):
            part.append(["b"])
    part.close()
    write(target, ["a", "b", "c"])
    assert [json.loads(line)["output"] for line in target.read_text().splitlines()] == list("abc")


def test_values_are_those_of_rows() -> None:
    vectors = Tensor("embedding", "FP32", (2, 4), vector_of("a") + vector_of("b"))
    assert values_of([vectors], 2) == [Vector(vector_of("a")), Vector(vector_of("b"))]
    scores = Tensor("scores", "FP32", (2, 1), b"\0" * 8)
    found = values_of([vectors, scores], 2)
    assert found[0] == {"embedding": pytest.approx(numbers_of("a")), "scores": [0.0]}
    assert values_of([Tensor("n", "INT64", (1,), b"\1" + b"\0" * 7)], 1) == [1]
    assert values_of(["a", b"b"], 2) == ["a", {"bytes": "Yg=="}]
    for outputs in (["a"], [Tensor("n", "FP32", (3, 1), b"\0" * 12)]):
        with pytest.raises(ModelMoraError, match="1 outputs for 2 rows"):
            values_of(outputs, 2)
    with pytest.raises(ModelMoraError, match="answer is broken"):
        values_of([Tensor("n", "FP32", (2, 2), b"\0")], 2)
