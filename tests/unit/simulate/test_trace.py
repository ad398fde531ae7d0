"""Traces as lines: what they hold comes back, and what is wrong is told with its line."""

from __future__ import annotations

import pytest

from modelmora.errors import Invalid
from modelmora.messages import Lane
from modelmora.simulate import Asked, Cost, Trace, lines_of, read_trace
from modelmora.simulate.invent import Invention, invent

HEAD = '{"models":{"a@1":{"load_s":1,"bytes":100}}}'


def test_a_trace_by_hand() -> None:
    lines = [
        '{"models": {"a@1": {"load_s": 2, "bytes": 100, "base_s": 0.1, "batch": 8}}}',
        "",
        '{"time": 0, "model": "a@1"}',
        '{"time": 1.5, "model": "a@1", "lane": "low", "size": 9, "units": 3, "principal": "ann"}',
        '{"time": 2, "model": "a@1", "timeout_ms": 50, "kind": "x"}',
    ]
    assert read_trace(lines) == Trace(
        {"a@1": Cost(2, 100, 0.1, batch=8)},
        [
            Asked(0, "a@1"),
            Asked(1.5, "a@1", Lane.LOW, 9, 3, "ann"),
            Asked(2, "a@1", timeout_ms=50, kind="x"),
        ],
    )


def test_what_is_written_is_read_again() -> None:
    made = invent(Invention(models=3, rate=20, seconds=20, burst=3))
    assert read_trace(lines_of(made)) == made


def test_the_same_seed_makes_the_same() -> None:
    assert invent(Invention(seed=7)) == invent(Invention(seed=7))
    assert invent(Invention(seed=7)) != invent(Invention(seed=8))


def test_traffic_is_as_it_was_wanted() -> None:
    made = invent(Invention(models=10, rate=50, seconds=400, zipf=1, burst=4))
    count = len(made.requests)
    assert 0.9 * 20_000 < count < 1.1 * 20_000
    first = sum(asked.model == "model-01@1" for asked in made.requests) / count
    assert first == pytest.approx(1 / sum(1 / n for n in range(1, 11)), abs=0.03)
    assert count / len({asked.time for asked in made.requests}) == pytest.approx(4, abs=0.4)


def test_what_nodes_have_measured_fills_what_is_open() -> None:
    lines = ['{"models":{"a@1":{"load_s":5}}}', '{"time":0,"model":"a@1"}']
    known = {"a@1": Cost(load_s=2, bytes=7), "b@1": Cost(load_s=1, bytes=1)}
    assert read_trace(lines, known).models == {"a@1": Cost(load_s=5, bytes=7)}
    with pytest.raises(Invalid, match=r"^line 1: a@1 lacks `bytes`, which no node"):
        read_trace(lines)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"model":"a@1"}', "lacks `time`"),
        ('{"time":0}', "lacks `model`"),
        ('{"time":-1,"model":"a@1"}', "`time` is -1; it must be greater than or equal to 0"),
        ('{"time":1e999,"model":"a@1"}', "`time` is Infinity; it must be a finite number"),
        ('{"time":NaN,"model":"a@1"}', "`time` is NaN; it must be a finite number"),
        ('{"time":"1","model":"a@1"}', '`time` is "1"; it must be a valid number'),
        ('{"time":true,"model":"a@1"}', "`time` is true; it must be a valid number"),
        ('{"time":0,"model":"A@1"}', "A@1 is not in the first line; did you mean a@1?"),
        ('{"time":0,"model":"\\u001b[2J"}', r"\x1b[2J is not in the first line"),
        ('{"time":0,"model":"a@1","lan":"low"}', "`lan` is no field of it"),
        (
            '{"time":0,"model":"a@1","lane":["low"]}',
            '`lane` is ["low"]; it must be one of critical, high, normal, low',
        ),
        (
            '{"time":0,"model":"a@1","timeout_ms":0}',
            "`timeout_ms` is 0; it must be greater than or equal to 1",
        ),
        ("[]", "is no JSON object"),
        ('{"time":0,', "is no JSON object"),
        ("[" * 100_000, "is no JSON object"),
        (b"\xff\xfe", "is no JSON object"),
    ],
)
def test_a_bad_line_is_told_by_its_number(line: str | bytes, told: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_trace([HEAD, '{"time":0,"model":"a@1"}', "", line])
    assert str(raised.value) == f"line 4: {told}"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "it holds no request"),
        ([HEAD], "it holds no request"),
        (["{}"], "line 1: lacks `models`"),
        (['{"models":[]}'], "line 1: `models` is []; it must be an object"),
        (['{"models":{"a":3}}'], "line 1: `models.a` must be an object"),
        (
            ['{"models":{"a":{"batch":0}}}'],
            "line 1: `models.a.batch` is 0; it must be greater than or equal to 1",
        ),
        (
            [HEAD, '{"time":2,"model":"a@1"}', '{"time":1,"model":"a@1"}'],
            "line 3: its time is before that of the request above it",
        ),
    ],
)
def test_a_bad_trace_says_what_is_wrong(lines: list[str], told: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_trace(lines)
    assert str(raised.value).startswith(told)
