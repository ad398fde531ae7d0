"""Tables at any width: nothing that is meant to be pasted is broken."""

from __future__ import annotations

from hypothesis import given, strategies

from modelmora.cli.shared.table import Table, folded

ROWS = [
    ["019ae-an-id", "12", "/a/path/of/some/length", "run `modelmora topics create` and look again"],
    ["019af-an-id", "7", "/b", "ok"],
]
TABLE = Table(("ID", "N", "PATH", "WHAT"), ROWS, frozenset({"N"}), drop=("N", "PATH"), prose=True)


def text(table: Table) -> list[str]:
    return ["  ".join(line).rstrip() for line in table.lines()]


def test_where_there_is_room_all_is_shown() -> None:
    assert text(TABLE.fitted(100)) == [
        "ID            N  PATH                    WHAT",
        "019ae-an-id  12  /a/path/of/some/length  run `modelmora topics create` and look again",
        "019af-an-id   7  /b                      ok",
    ]


def test_prose_is_folded_first_but_no_command() -> None:
    assert text(TABLE.fitted(72)) == [
        "ID            N  PATH                    WHAT",
        "019ae-an-id  12  /a/path/of/some/length  run `modelmora topics create`",
        "                                         and look again",
        "019af-an-id   7  /b                      ok",
    ]


def test_then_columns_are_dropped() -> None:
    assert text(TABLE.fitted(40)) == [
        "ID           WHAT",
        "019ae-an-id  run",
        "             `modelmora topics create`",
        "             and look again",
        "019af-an-id  ok",
    ]


def test_what_still_is_too_wide_stays_whole() -> None:
    assert text(TABLE.fitted(20))[1] == (
        "019ae-an-id  run `modelmora topics create` and look again"
    )
    plain = Table(("ID", "PATH"), [["i" * 30, "p" * 30]])
    assert text(plain.fitted(20))[1] == "i" * 30 + "  " + "p" * 30


def test_wide_characters_are_two_cells() -> None:
    assert text(Table(("A", "B"), [["大大", "x"], ["ab", "y"]]))[1:] == ["大大  x", "ab    y"]


@given(strategies.text("ab `\t", max_size=60), strategies.integers(1, 40))
def test_folding_loses_no_word(prose: str, width: int) -> None:
    lines = folded(["id", prose], width)
    assert " ".join(line[-1] for line in lines).split() == prose.split()
    assert [line[0] for line in lines] == ["id", *[""] * (len(lines) - 1)]
