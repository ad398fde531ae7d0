"""What people did beside the broker, kept in the data folder until a gateway there tells it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from modelmora.audit.auditor import Auditor
from modelmora.audit.chain import Told
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
PRIVATE = 0o600
MOST_MS = 1 << 53
_LINE = TypeAdapter(Told)


class Pending:
    """A file of lines; whoever reads or writes it is alone while it does."""

    def __init__(self, settings: Settings) -> None:
        self.path = settings.data_dir / "audit.pending"

    def add(self, told: Told) -> None:
        """Keep a record. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
            os.write(descriptor, _LINE.dump_json(told) + b"\n")
            os.fsync(descriptor)

    def read(self) -> tuple[list[Told], int]:
        """What is kept, and how many bytes that is. Raises OSError."""
        if not self.path.exists():
            return [], 0
        with (
            _alone(self.path, os.O_RDWR) as descriptor,
            open(descriptor, "rb", closefd=False) as file,
        ):
            content = file.read()
        return [*filter(None, map(_told, content.splitlines()))], len(content)

    def forget(self, size: int) -> None:
        """Keep so many bytes no longer. Raises OSError."""
        with _alone(self.path, os.O_RDWR) as descriptor:
            rest = os.pread(descriptor, os.fstat(descriptor).st_size - size, size)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, rest, 0)


class Forwarding:
    """Hands what is pending to an auditor; it is forgotten once the broker has it."""

    def __init__(self, settings: Settings, auditor: Auditor) -> None:
        self._pending = Pending(settings)
        self._auditor = auditor
        self._taken = 0
        self._failed = False

    def look(self) -> None:
        """To be called now and then; returns at once."""
        try:
            if not self._taken:
                told, self._taken = self._pending.read()
                for each in told:
                    self._auditor.take(each)
            elif self._auditor.idle:
                self._pending.forget(self._taken)
                self._taken = 0
        except OSError:
            if not self._failed:
                log.exception("what waits for the audit cannot be read or forgotten")
            self._failed = True


def _told(line: bytes) -> Told | None:
    try:
        told = _LINE.validate_json(line, strict=True)
    except ValueError:
        told = None
    if told is None or not 0 <= told.time < MOST_MS:
        log.warning("a line of audit.pending is skipped, which nobody of ours has written")
        return None
    return told


@contextmanager
def _alone(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
