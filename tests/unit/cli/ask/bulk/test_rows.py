"""The rows of every kind of file, broken ones included."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from modelmora.cli.ask.bulk import rows
from modelmora.cli.ask.bulk.rows import Row, Source, chunks
from modelmora.cli.ask.bulk.values import Failure
from modelmora.cli.ask.portions import PORTION_BYTES
from modelmora.errors import ConfigurationError, MissingExtra


def read(path: Path, column: str | None = None) -> list[str]:
    """The texts, and of those that failed the words."""
    found = [row.text for row in Source(path, column).rows()]
    return [text.message if isinstance(text, Failure) else text for text in found]


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def test_lines_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_LINE", 40)
    raw = b'{"text": "a", "q": "b"}\n"plain"\n\n{"q": 1}\n{broken\n[1]\n"\xff"\n'
    raw += b'"' + b"x" * 100 + b'"\n"after"\n"last"'
    path = written(tmp_path / "in.jsonl", raw)
    none = "the line has no text; --column names another"
    no_json = "the line is no JSON in UTF-8"
    assert read(path) == [
        *("a", "plain", none, no_json, "it is no text", no_json),
        *("the line has more than 40 bytes", "after", "last"),
    ]
    assert read(path, "q")[:3] == ["b", "plain", "it is no text"]
    assert read(written(tmp_path / "empty.jsonl", b"")) == []
    (first, *_, last) = Source(path).rows()
    assert (first.at, last.at) == (24, Source(path).total)


def test_lines_of_text(tmp_path: Path) -> None:
    path = written(tmp_path / "in.txt", b"a\r\n\n \xff\nb")
    assert read(path) == ["a", "", "the line is no UTF-8", "b"]


def test_tables_of_csv(tmp_path: Path) -> None:
    raw = b'\xef\xbb\xbfid,text\r\n1,"a\nb, ""c"""\r\n2\r\n\r\n3,\xff\r\n4,d\r\n'
    path = written(tmp_path / "in.csv", raw)
    assert read(path) == ['a\nb, "c"', "the row is too short", "the row is no UTF-8", "d"]
    assert read(path, "id") == ["1", "2", "3", "4"]
    with pytest.raises(ConfigurationError, match="no column word; --column takes one of id, text"):
        read(path, "word")
    assert read(written(tmp_path / "one.tsv", b"name\nx\n")) == ["x"]
    assert read(written(tmp_path / "empty.csv", b"")) == []
    huge = written(tmp_path / "huge.csv", b"text\na\n" + b"x" * (rows.MOST_LINE + 1) + b"\n")
    with pytest.raises(ConfigurationError, match="line 3: field larger"):
        read(huge)


def test_tables_of_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.parquet"
    texts = pyarrow.array(["a", None, "b"])
    parquet.write_table(pyarrow.table({"text": texts, "n": [1, 2, 3]}), path)
    assert read(path) == ["a", "it is no text", "b"]
    assert read(path, "n") == ["it is no text"] * 3
    assert Source(path).total == 3
    with pytest.raises(ConfigurationError, match="no column x"):
        read(path, "x")
    with pytest.raises(ConfigurationError, match="is no Parquet file"):
        read(written(tmp_path / "no.parquet", b"no"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="`parquet` extra"):
        read(path)
    for name, words in (("in.xlsx", "must end in one of"), ("none.csv", "is not there")):
        with pytest.raises(ConfigurationError, match=words):
            Source(tmp_path / name).check()


def test_chunks_have_so_many_rows_and_bytes() -> None:
    texts = ["a", "b", "c", "x" * PORTION_BYTES, "d"]
    parts = chunks(iter([Row(text, 0) for text in texts]), 2)
    assert [[row.text for row in part] for part in parts] == [
        ["a", "b"],
        ["c"],
        ["x" * PORTION_BYTES],
        ["d"],
    ]
