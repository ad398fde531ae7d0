"""What a line of `produce` asks, without a broker; the window in which work is begun."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmora.cli.ask.produce import _asked, lines_of_requests
from modelmora.cli.ask.window import in_order
from modelmora.errors import ConfigurationError
from tests.unit.cli.runs import Cli


def lines(raw: bytes, most: int = 100) -> list[tuple[int, bytes]]:
    return list(lines_of_requests(io.BytesIO(raw), most))


def test_each_line_is_one_and_blank_ones_are_none() -> None:
    assert lines(b'a\r\n\n  \n b \n{"x"\n') == [(1, b"a"), (4, b" b "), (5, b'{"x"')]
    assert lines(b"") == []
    assert lines(b'{"a": 1}\n{"b": 2}') == [(1, b'{"a": 1}'), (2, b'{"b": 2}')]


def test_json_over_several_lines_is_one() -> None:
    assert lines(b'{\n "inputs": "x"\n}\n') == [(1, b'{\n "inputs": "x"\n}\n')]
    with pytest.raises(ConfigurationError, match="line 1 begins with"):
        lines(b"{broken\nmore\n")
    with pytest.raises(ConfigurationError, match="line 1 begins with"):
        lines(b"{" + b" " * 50 + b"\n" + b" " * 99 + b"}")


def test_huge_lines_are_refused_with_their_number() -> None:
    assert lines(b"x" * 100 + b"\r\n" + b"y" * 100)[1] == (2, b"y" * 100)
    with pytest.raises(ConfigurationError, match="line 2 is longer"):
        lines(b"x\n" + b"y" * 101)


def asked(raw: bytes, *, text: bool = False) -> tuple[Any, Any]:
    return _asked((7, raw), "m", {"priority": "low"}, {"n": 1, "k": 2}, text=text)


def test_a_line_as_text_or_as_json() -> None:
    request, how = asked(b" a text ")
    assert (request.model, request.inputs) == ("m", (" a text ",))
    assert how == {"priority": "low", "parameters": {"n": 1, "k": 2}, "progress": False}
    whole = b'{"inputs": ["a", {"bytes": "AP8="}], "parameters": {"k": 3}, "timeout_ms": 1500, '
    request, how = asked(whole + b'"request_id": "i", "progress": true, "task": "t"}')
    assert (request.model, request.inputs) == ("", ("a", b"\x00\xff"))
    assert how == {
        "priority": "low",
        "parameters": {"n": 1, "k": 3},
        "progress": True,
        "request_id": "i",
        "task": "t",
        "timeout_s": 1.5,
    }
    assert asked(b'{"inputs": "x", "model": "other"}')[0].model == "other"
    assert asked(b'{"inputs"', text=True)[0].inputs == ('{"inputs"',)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"b\xff", "line 7 is no UTF-8"),
        (b'{"inputs": []}', "line 7: inputs: has one element at least"),
        (b'{"inputs": "x", "priority": "low"}', "line 7: priority: is no field here"),
        (b'{"inputs": "x"', "line 7: "),
        (b'{"inputs": "\\ud800"}', "line 7: "),
    ],
)
def test_what_is_wrong_is_said_with_its_line(raw: bytes, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        asked(raw)


def test_before_anybody_is_asked(cli: Cli, tmp_path: Path) -> None:
    assert "no model is named" in cli("produce", "", "x").err
    ran = cli("produce", "m", "--bootstrap-servers", "127.0.0.1:1")
    assert (ran.code, ran.err.count("\n")) == (4, 1)
    assert "no broker answers at 127.0.0.1:1" in ran.err
    ran = cli("results", "--id", "x", "--bootstrap-servers", "127.0.0.1:1")
    assert (ran.code, ran.err.count("\n")) == (4, 1)


async def test_work_is_begun_within_a_window_and_handed_over_in_order() -> None:
    begun: list[int] = []
    gates = [asyncio.Event() for _ in range(6)]

    async def piece(number: int) -> int:
        begun.append(number)
        await gates[number].wait()
        return number

    async def collect() -> list[int]:
        return [each async for each in in_order((piece(n) for n in range(6)), 3)]

    collecting = asyncio.create_task(collect())
    for gate in (2, 1, 5, 4):
        gates[gate].set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    gates[0].set()
    gates[3].set()
    assert await collecting == [0, 1, 2, 3, 4, 5]


async def test_what_comes_before_a_fault_is_handed_over_first() -> None:
    async def piece(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    def making() -> Iterator[Any]:
        yield piece(0)
        yield piece(1)
        raise KeyError("line 3")

    for work, fault in ((making(), KeyError), ((piece(n) for n in range(9)), ValueError)):
        coming = in_order(work, 4)
        assert [await anext(coming), await anext(coming)] == [0, 1]
        with pytest.raises(fault):
            await anext(coming)
