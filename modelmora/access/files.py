"""The files of keys and pepper: written whole, and read again when they change."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from modelmora.access.binding import asks_who, other_ways
from modelmora.access.keys import Key, Keys, recognised
from modelmora.access.marks import Mark, mark_of
from modelmora.errors import ConfigurationError
from modelmora.settings import Section, Settings

PRIVATE = 0o600
PEPPER_BYTES = 32
log = structlog.get_logger(__name__)


class _Content(Section):
    keys: Keys


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Where the keys are, and what they are made and checked with."""

    path: Path
    pepper_path: Path
    given: str | None = None
    """A pepper that stands in no file."""

    @classmethod
    def of(cls, settings: Settings) -> KeyFile:
        """Where these settings have it."""
        access, folder = settings.access, settings.data_dir
        own = access.pepper.get_secret_value() if access.pepper else None
        return cls(
            access.keys_file or folder / "keys.json",
            access.pepper_file or folder / "keys.pepper",
            None if access.pepper_file else own,
        )

    def read(self) -> Keys:
        """The keys, none where there is no file. Raises ConfigurationError."""
        try:
            return _Content.model_validate_json(self.path.read_bytes()).keys
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"])) or "it"
            raise ConfigurationError(
                f"{self.path} is no file of keys ({where}: {first['msg']}); it must be as "
                "`modelmora keys` writes it"
            ) from None

    def pepper(self) -> bytes:
        """What keys are checked with. Raises ConfigurationError."""
        if self.given is not None:
            return self.given.encode()
        try:
            pepper = self.pepper_path.read_bytes().strip()
        except OSError as error:
            raise ConfigurationError(
                f"the pepper of the keys, {self.pepper_path}, cannot be read ({error.strerror}); "
                "without it no key of that file holds"
            ) from None
        if not pepper:
            raise ConfigurationError(f"the pepper of the keys, {self.pepper_path}, is empty")
        return pepper

    def change(self, decide: Callable[[Keys, bytes], Keys]) -> None:
        """Write what is decided of the keys as they are; one at a time. Raises ModelMoraError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self.path):
                keys = self.read()
                if self.given is None and not (keys or self.pepper_path.exists()):
                    _write(self.pepper_path, secrets.token_hex(PEPPER_BYTES).encode() + b"\n")
                changed = decide(keys, self.pepper())
                written = _Content(keys=changed).model_dump_json(indent=1)
                _write(self.path, written.encode() + b"\n")
        except OSError as error:
            raise ConfigurationError(
                f"{error.filename or self.path} cannot be written: {error.strerror}"
            ) from None

    def mark(self) -> tuple[Mark | None, ...]:
        """What is another one once either file has been changed."""
        return tuple(mark_of(path) for path in (self.path, self.pepper_path))


class Keyring:
    """The keys that hold now; a file that cannot be read changes nothing.

    Raises ConfigurationError where the files cannot be read, or no key that is `needed` is there.
    """

    def __init__(self, file: KeyFile, *, needed: bool = True) -> None:
        self._file = file
        self._mark = file.mark()
        self._keys, self._pepper = _taken(file)
        if needed and not self._keys:
            raise ConfigurationError(f"there is no API key in {file.path}")

    def recognise(self, text: str) -> Key | None:
        """The key that this is the text of, expired or not."""
        mark = self._file.mark()
        if mark != self._mark:
            self._mark = mark
            self._read()
        return recognised(self._keys, text, self._pepper)

    def _read(self) -> None:
        try:
            if self._file.path.exists():
                self._keys, self._pepper = _taken(self._file)
                log.info("API keys read again", keys=len(self._keys))
                return
            reason = f"{self._file.path} is gone"
        except ConfigurationError as error:
            reason = str(error)
        log.error("API keys are as they were", reason=reason)


def _taken(file: KeyFile) -> tuple[dict[str, Key], bytes]:
    keys = {key.id: key for key in file.read()}
    return keys, file.pepper() if keys else b""


def keyring_of(settings: Settings) -> Keyring | None:
    """The keys that callers may have; None where anyone may call. Raises ConfigurationError."""
    if not asks_who(settings):
        return None
    try:
        return Keyring(KeyFile.of(settings), needed=not other_ways(settings))
    except ConfigurationError as error:
        where = f" on {settings.host}" if settings.access.callers == "auto" else ""
        raise ConfigurationError(
            f"callers{where} need API keys: {error}; make one with `modelmora keys create NAME`, "
            "or name who else tells callers apart (oidc.issuer, tls.client_cafile)"
        ) from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, content: bytes) -> None:
    """Write a file that its owner alone reads, and everybody whole or not at all."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
