"""Logging: one chain of processors for our own and the libraries' loggers, to stderr.

Lines carry `request_id`, `principal` and `traceparent` where they are bound. They never carry
content (invariant I8): of an exception only its type and its frames are written, since messages
of foreign exceptions quote the values they stumbled over; ours and the system's are kept.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, TextIO

import orjson
import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from modelmora.errors import ModelMoraError
from modelmora.settings import LogSettings

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
    "mode.timers": logging.ERROR,  # a late timer under load is no news
}


def configure(settings: LogSettings, *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging; safe to call again."""
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder(())],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(settings, stream),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
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


def _renderer(settings: LogSettings, stream: TextIO) -> Processor:
    if settings.format == "console" or (settings.format == "auto" and stream.isatty()):
        return structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return structlog.processors.JSONRenderer(serializer=_json)


def _json(event: EventDict, **_options: Any) -> str:
    return orjson.dumps(event, default=repr).decode()
