"""Logging: one form for all loggers, and never content."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from modelmora.errors import NotFound
from modelmora.settings import LogSettings
from modelmora.telemetry import logs

SECRET = "the-secret-content"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_ours_and_the_libraries_lines_look_alike() -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(), stream=stream)
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
    logs.configure(LogSettings(level="error"), stream=stream)
    structlog.get_logger("modelmora.test").warning("ours")
    logging.getLogger("faust.app").warning("theirs")
    logging.getLogger("uvicorn.error").error("shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_an_exception_is_told_without_what_it_quotes(format_: Any) -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(format=format_), stream=stream)
    held = {"input": SECRET}
    try:
        int(held["input"])
    except ValueError:
        structlog.get_logger("modelmora.test").exception("ours")
        logging.getLogger("uvicorn.error").exception("theirs")
    text = stream.getvalue()
    assert text.count("ValueError") == 2
    assert "test_logs.py" in text
    assert SECRET not in text


def test_our_own_errors_keep_their_line() -> None:
    stream = io.StringIO()
    logs.configure(LogSettings(), stream=stream)
    try:
        raise NotFound("no model x")
    except NotFound as error:
        structlog.get_logger("modelmora.test").error("failed", exc_info=error)
    assert lines(stream)[0]["error"] == "NotFound: no model x"


def test_configuring_twice_writes_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure(LogSettings(), stream=first)
    logs.configure(LogSettings(), stream=second)
    logging.getLogger("mode").warning("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1
