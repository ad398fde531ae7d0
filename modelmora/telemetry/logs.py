"""Logging: one chain of processors for our own and the libraries' loggers, to stderr.

Lines carry `request_id`, `principal` and `traceparent` where they are bound. They never carry
content (invariant I8): of an exception only its type and its frames are written, since messages
of foreign exceptions quote the values they stumbled over; ours and the system's are kept.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TextIO

import orjson
import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from modelmora.errors import ConfigurationError, ModelMoraError
from modelmora.settings import LogSettings
from modelmora.text import measure, printable

# Libraries that set up handlers or levels of their own, and how loud each may be at least.
_LIBRARIES = {
    "uvicorn": logging.WARNING,
    "uvicorn.error": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "aiokafka": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "faust": logging.WARNING,
    "grpc": logging.WARNING,
    "httpx": logging.WARNING,
    "mode": logging.WARNING,
    "python_multipart": logging.CRITICAL,  # a caller's broken form is the caller's news
    "faust.app": logging.ERROR,  # its sensors miss rebalances that are ours
    "mode.timers": logging.ERROR,  # a late timer under load is no news
}
_TICKS = {"node_joined", "node_left", "node is not ready yet", "node ready", "gateway ready"}
"""What `serve` shows a person in its own way."""


def configure(settings: LogSettings, process: str, *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging; safe to call again.

    `process` names this one in every line. Raises ConfigurationError for a file that cannot be
    written.
    """
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root = logging.getLogger()
    former = [handler for handler in root.handlers if isinstance(handler, _File)]
    root.handlers[:] = list(_handlers(settings, process, stream))
    for handler in former:
        handler.close()
    root.setLevel(level)
    for name, least in _LIBRARIES.items():
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(max(level, least))
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def stay_quiet() -> None:
    """For programs of others: what we and our libraries log goes where theirs does, else nowhere.

    structlog would print it on their standard output, `logging` its warnings on their terminal.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    for name in ("modelmora", "aiokafka"):
        logging.getLogger(name).addHandler(logging.NullHandler())


class _File(logging.handlers.WatchedFileHandler):
    """Appends to a file, and to the new one where it was renamed; a full disk is no noise.

    Nor is a folder that was removed, or a new file that cannot be made: what logs goes on.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def _handlers(settings: LogSettings, process: str, stream: TextIO) -> Iterator[logging.Handler]:
    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    json: list[Processor] = [name_process, structlog.processors.JSONRenderer(serializer=_json)]
    shown = form(settings, stream)
    if shown != "none":
        handler: logging.Handler = logging.StreamHandler(stream)
        last = _console(settings, stream) if shown == "console" else json
        handler.setFormatter(_formatter(last))
        if shown == "console" and settings.level != "debug":
            handler.addFilter(_is_no_tick)
        yield handler
    if settings.file and settings.file_bytes:
        try:
            handler = _File(settings.file, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"log.file {settings.file} cannot be written: {error.strerror}"
            ) from None
        handler.setFormatter(_formatter(json))
        yield handler


def _is_no_tick(record: logging.LogRecord) -> bool:
    return not (isinstance(record.msg, dict) and record.msg.get("event") in _TICKS)


def form(settings: LogSettings, stream: TextIO) -> str:
    """How the log is written to this stream: `json`, `console` or `none`."""
    if settings.format == "auto":
        return "console" if stream.isatty() else "json"
    return settings.format


def _formatter(last: Sequence[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder(())],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, harmless, *last],
    )


def bind_request(request_id: str, principal: str, traceparent: str) -> None:
    """Name the request in every line that this task and its children log."""
    bind_contextvars(request_id=request_id, principal=principal, traceparent=traceparent)


def _shared() -> list[Processor]:
    return [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        frames_only,
    ]


def frames_only(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by type and frames; the message stays only where we know who wrote it."""
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given
    if error is True or (given and error is None):
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        known = isinstance(error, ModelMoraError | OSError)
        event["error"] = f"{type(error).__name__}: {error}" if known else type(error).__name__
        event["frames"] = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ]
    return event


def harmless(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Show what steers a terminal, or breaks a line, wherever a stranger's text may stand."""
    return {
        name: printable(value) if isinstance(value, str) else value for name, value in event.items()
    }


def _console(settings: LogSettings, stream: TextIO) -> list[Processor]:
    """For a person: local time to the second, units, no logger, frames only while debugging."""
    dropped = {"logger"} if settings.level == "debug" else {"logger", "frames"}

    def for_people(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        when = datetime.fromisoformat(event["timestamp"]).astimezone()
        kept = dict(
            measure(name, value) if type(value) in (int, float) else (name, value)
            for name, value in event.items()
            if name not in dropped and value is not None
        )
        return kept | {"timestamp": when.strftime("%H:%M:%S")}

    colors = stream.isatty() and "NO_COLOR" not in os.environ
    return [for_people, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)]


def _json(event: EventDict, **_options: Any) -> str:
    return orjson.dumps(event, default=repr).decode()
