"""Logging: one form for all loggers, and never content."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from modelmora.errors import ConfigurationError, NotFound
from modelmora.settings import LogSettings
from modelmora.telemetry import logs

SECRET = "the-secret-content"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logs.configure(LogSettings(format="none"), "test")
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_ours_and_the_libraries_lines_look_alike() -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(), "test", stream=stream)
    logs.bind_request("id-1", "local", "00-trace")
    structlog.get_logger("modelmora.test").info("ours", count=1)
    logging.getLogger("uvicorn.error").warning("%s", "theirs")
    ours, theirs = lines(stream)
    bound = {"request_id": "id-1", "principal": "local", "traceparent": "00-trace"}
    assert ours.items() >= {**bound, "event": "ours", "count": 1, "level": "info"}.items()
    assert theirs.items() >= {**bound, "event": "theirs", "level": "warning"}.items()
    assert ours["logger"] == "modelmora.test"
    assert theirs["logger"] == "uvicorn.error"
    assert ours["timestamp"].endswith("Z")


def test_the_level_counts_for_all() -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(level="error"), "test", stream=stream)
    structlog.get_logger("modelmora.test").warning("ours")
    logging.getLogger("faust.app").warning("theirs")
    logging.getLogger("uvicorn.error").error("shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_an_exception_is_told_without_what_it_quotes(format_: Any) -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(format=format_), "test", stream=stream)
    held = {"input": SECRET}
    try:
        int(held["input"])
    except ValueError:
        structlog.get_logger("modelmora.test").exception("ours")
        logging.getLogger("uvicorn.error").exception("theirs")
    text = stream.getvalue()
    assert text.count("ValueError") == 2
    assert ("test_logs.py" in text) is (format_ == "json")
    assert SECRET not in text


def test_our_own_errors_keep_their_line() -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(), "test", stream=stream)
    try:
        raise NotFound("no model x")
    except NotFound as error:
        structlog.get_logger("modelmora.test").error("failed", exc_info=error)
    assert lines(stream)[0]["error"] == "NotFound: no model x"


def test_configuring_twice_writes_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure(LogSettings(), "test", stream=first)
    logs.configure(LogSettings(), "test", stream=second)
    logging.getLogger("mode").warning("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_a_person_sees_local_time_and_no_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(format="console"), "test", stream=stream)
    facts = {"count": 1, "load_ms": 517.2, "private_bytes": 48_283_648, "error": None}
    structlog.get_logger("modelmora.test").warning("it happened", **facts)
    told = r"\d\d:\d\d:\d\d \[warning *\] it happened count=1 load=517ms private=48MB\n"
    assert re.fullmatch(told, stream.getvalue())


@pytest.mark.parametrize(
    ("format_", "level", "lines_"),
    [("console", "info", 1), ("console", "debug", 2), ("json", "info", 2)],
)
def test_what_is_ticked_off_for_a_person_is_said_once(
    format_: Any, level: Any, lines_: int, tmp_path: Path
) -> None:
    stream, file = io.StringIO(), tmp_path / "a.log"
    chosen = LogSettings(format=format_, level=level, file=file)
    logs.configure(chosen, "test", stream=stream)
    for event in ("node ready", "loaded"):
        structlog.get_logger("modelmora.test").info(event)
    assert len(stream.getvalue().splitlines()) == lines_
    assert len(file.read_text().splitlines()) == 2


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    for variable, coloured in (("", True), ("1", False)):
        monkeypatch.delenv("NO_COLOR", raising=False)
        if variable:
            monkeypatch.setenv("NO_COLOR", variable)
        stream.truncate(0)
        logs.configure(LogSettings(), "test", stream=stream)
        structlog.get_logger("modelmora.test").warning("it happened")
        assert ("\x1b[" in stream.getvalue()) is coloured


@pytest.mark.parametrize("format_", ["json", "console"])
def test_nothing_steers_the_terminal_that_shows_it(format_: Any) -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(format=format_), "test", stream=stream)
    forged = "id\x1b[2J\u202e\nforged"
    structlog.get_logger("modelmora.test").info(forged, request_id=forged)
    logging.getLogger("uvicorn.error").warning("%s", forged)
    assert len(stream.getvalue().splitlines()) == 2
    assert all(line.isprintable() for line in stream.getvalue().split("\n"))


def test_the_file_is_json_and_goes_on_where_it_was_renamed(tmp_path: Path) -> None:
    path = tmp_path / "modelmora.log"
    stream = io.StringIO()
    logs.configure(LogSettings(file=path, format="none"), "node", stream=stream)
    log = structlog.get_logger("modelmora.test")
    log.info("first")
    path.rename(tmp_path / "former")
    log.info("second")
    assert json.loads((tmp_path / "former").read_text())["event"] == "first"
    (line,) = path.read_text().splitlines()
    assert json.loads(line).items() >= {"event": "second", "process": "node"}.items()
    assert not stream.getvalue()


def test_a_full_disk_is_no_noise(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(file=Path("/dev/full"), format="none"), "node")
    structlog.get_logger("modelmora.test").info("lost")
    assert not capsys.readouterr().err


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"log\.file .* cannot be written: Is a directory"):
        logs.configure(LogSettings(file=tmp_path), "node")


def test_a_folder_that_is_removed_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    path.parent.mkdir()
    logs.configure(LogSettings(file=path, format="none"), "node")
    logging.getLogger("x").warning("first")
    shutil.rmtree(path.parent)
    logging.getLogger("x").warning("nowhere")
    path.parent.mkdir()
    logging.getLogger("x").warning("last")
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["last"]
