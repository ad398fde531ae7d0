"""The picture of a trace, and the one in the docs."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from modelmora.kafka.topics import Topic
from modelmora.telemetry.conventions import PROCESS, SEND, named
from tests.collectors import Seen
from tests.drawn import drawn

IN_DOCS = Path(__file__).parents[2] / "docs/assets/trace.svg"
SVG = "{http://www.w3.org/2000/svg}"


def seen(name: str, own: str, parent: str, begin_ms: int, end_ms: int) -> Seen:
    times = begin_ms * 1_000_000, end_ms * 1_000_000
    return Seen("modelmora-node", name, "t", own, parent, *times, False, "internal", (), {})


def labels(svg: str) -> list[tuple[str, float]]:
    texts = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return [(each.text or "", float(each.get("x", 0))) for each in texts if not each.get("class")]


def test_spans_stand_below_their_causes_in_the_order_in_which_they_began() -> None:
    spans = [
        seen("c", "3", "1", 40, 50),
        seen("<b>", "2", "1", 10, 30),
        seen("a", "1", "of a caller", 0, 100),
        seen("d", "4", "2", 20, 30),
    ]
    rows = labels(drawn(spans))[2:]
    assert [name for name, _ in rows] == ["a", "<b>", "d", "c"]
    assert [x for _, x in rows] == [10, 24, 38, 24]


def test_bars_are_as_long_as_their_spans() -> None:
    svg = ElementTree.fromstring(drawn([seen("a", "1", "", 0, 100), seen("b", "2", "1", 50, 75)]))
    a, b = [each for each in svg.iter(f"{SVG}rect") if each.get("height") == "14"]
    whole, part = (float(each.get("width", 0)) for each in (a, b))
    assert abs(whole / part - 4) < 0.01
    assert abs(float(b.get("x", 0)) - float(a.get("x", 0)) - whole / 2) < 0.2


def test_the_picture_in_the_docs_has_the_spans_that_are_made() -> None:
    lane, results = Topic.NORMAL.full("modelmora"), Topic.RESULTS.full("modelmora")
    names = [name for name, _ in labels(IN_DOCS.read_text())][2:]
    assert names == [
        "infer", named(SEND, lane), named(PROCESS, lane), "queue", "load", "child",
        named(SEND, results), named(PROCESS, results),
    ]  # fmt: skip
    page = (IN_DOCS.parents[1] / "howto/tracing.md").read_text()
    told = set(re.findall(r"^\| `(\w+)", page, re.MULTILINE))
    assert {name.partition(" ")[0] for name in names} | {"batch"} == told
