"""A report as a file: whole, escaped, without scripts and without anything loaded."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from modelmora.comparing import Answer, Asked, Comparison, Needs, Report
from modelmora.comparing.page import page
from modelmora.comparing.told import case, headline, lines, reasons, rows, took
from modelmora.errors import Code
from tests.unit.comparing.outcomes import failed, outcome, vectors

NASTY = "<script>alert(1)</script>&\"'\x1b[31m\u202e"
OPEN = {"meta", "link", "br"}


class Balanced(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in OPEN:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def report(name: str = "m", request_id: str = "id") -> Report:
    asked = Asked(
        f"{name}@1", f"{name}@2", name, 1_796_000_000_000, 1_796_000_360_000, 9, name,
        (Needs(5_000_000, None, 20.0), Needs(6_000_000)),
    )  # fmt: skip
    comparison = Comparison(asked)
    pairs = [
        (outcome("abcd", ms=10), outcome("abcd", ms=20)),
        (outcome("abcd"), outcome("abxx")),
        (outcome("abcd"), failed(Code.WORKER_CRASH, ms=0)),
        (outcome("abcd"), outcome(vectors((1, 0)))),
        (outcome("abcd"), failed(Code.BUSY)),
    ]
    for number, pair in enumerate(pairs):
        comparison.take(f"{request_id}-{number}", *map(Answer.of, pair))
    comparison.leave_out(name, 3)
    return comparison.report()


def parsed(text: str) -> Balanced:
    found = Balanced()
    found.feed(text)
    found.close()
    assert found.stack == []
    return found


def test_it_is_a_whole_page_that_needs_nothing_else() -> None:
    text = page(report())
    found = parsed(text)
    tags = {tag for tag, _ in found.seen}
    assert not tags & {"script", "img", "iframe", "object", "embed", "base", "form"}
    assert [tag for tag, _ in found.seen if tag == "link"] == ["link"]
    for tag, attributes in found.seen:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org)", text)


def test_what_strangers_named_is_shown_and_does_nothing() -> None:
    text = page(report(NASTY, NASTY))
    found = parsed(text)
    assert "script" not in {tag for tag, _ in found.seen}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_all_that_is_found_is_on_it() -> None:
    text = page(report("m"))
    for told in ("m@2 against m@1", "edit distance", "worker_crash", "vectors, not texts",
                 "candidate busy", "id-1", "5.0 MB", "6.0 MB", "2.00", "comparison m"):  # fmt: skip
        assert told in text, told


def test_its_drawings_are_well_formed() -> None:
    drawings = re.findall(r"<svg class=\"plot\".*?</svg>", page(report()), re.DOTALL)
    assert len(drawings) == 2
    for each in drawings:
        numbers = [float(n) for n in re.findall(r' (?:[xy]|width|height)="([^"]+)"', each)]
        assert min(numbers) >= 0
        assert max(numbers) <= 860
        ET.fromstring(each)


@pytest.mark.parametrize("pairs", [0, 1])
def test_of_hardly_anything_there_is_a_page_still(pairs: int) -> None:
    comparison = Comparison(Asked("m@1", "m@2"))
    for _ in range(pairs):
        comparison.take("a", Answer.of(outcome("x", ms=0)), Answer.of(outcome("x", ms=0)))
    parsed(page(comparison.report()))


def test_rows_leave_out_what_nobody_knows() -> None:
    told = {row.name: row[1:] for row in rows(report())}
    assert told["completed"] == ("5", "3", None)
    assert told["failed"] == ("0", "2", None)
    assert told["memory"] == ("5.0 MB", "6.0 MB", "1.20")
    assert told["load"] == ("20 ms", None, None)
    assert "GPU memory" not in told
    assert "tokens, mean" not in told


def test_lines_are_in_the_order_of_the_measures() -> None:
    assert [line.name for line in lines(report())][:3] == ["agreement", "same bytes", "similarity"]


def test_a_case_says_why_or_what_differs() -> None:
    worst = {each.request_id: each for each in report().worst}
    assert case(worst["id-2"]) == "worker_crash"
    assert case(worst["id-1"]) == "similarity 50.0%, edit distance 2"
    assert took(worst["id-2"]) == "10 ms, -"
    assert took(worst["id-0"]) == "10 ms, 20 ms"


def test_of_many_reasons_the_most_frequent_are_told() -> None:
    found = reasons({f"why {number}": number for number in range(1, 11)})
    assert found[0] == ("why 10", 10)
    assert found[-1] == ("other reasons", 3)
    assert len(found) == 9


def test_the_headline_says_what_was_compared() -> None:
    assert headline(report()) == "m@2 against m@1: 4 pairs of past requests"
    live = Comparison(Asked("m@1", "m@2")).report()
    assert headline(live) == "m@2 against m@1: 0 pairs of a live shadow"
