"""The log of an instance: begun anew at its size, read from its end, followed."""

from __future__ import annotations

from pathlib import Path

from modelmora.host.logfile import KEPT, follow, last_lines, rotate


def test_a_file_is_begun_anew_and_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "modelmora.log"
    assert not rotate(path, 1)
    for number in range(KEPT + 2):
        path.write_text(f"{number}\n")
        assert not rotate(path, 100)
        assert rotate(path, 2)
        assert path.read_text() == ""
    path.unlink()
    names = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert names == {f"modelmora.log.{age}": f"{KEPT + 2 - age}\n" for age in range(1, KEPT + 1)}


def test_a_folder_that_cannot_be_written_keeps_its_log(tmp_path: Path) -> None:
    (tmp_path / "modelmora.log.3").mkdir()
    (tmp_path / "modelmora.log.2").write_text("")
    path = tmp_path / "modelmora.log"
    path.write_text("kept\n")
    assert not rotate(path, 1)
    assert path.read_text() == "kept\n"


def test_the_newest_lines_reach_into_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "modelmora.log"
    path.with_name("modelmora.log.1").write_bytes(b"a\nb \xff\n")
    path.write_text("c\n")
    assert last_lines(path, 2) == ["b �", "c"]
    assert last_lines(path, 9) == ["a", "b �", "c"]
    assert last_lines(path, 0) == []
    assert last_lines(tmp_path / "none", 3) == []


def test_lines_are_followed_through_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "modelmora.log"
    path.write_text("before\n")
    lines = follow(path)
    with path.open("a") as file:
        file.write("first\nsec")
        file.flush()
        assert next(lines) == "first"
        file.write("ond\n")
    assert next(lines) == "second"
    assert rotate(path, 1)
    path.write_text("third\n")
    assert next(lines) == "third"
