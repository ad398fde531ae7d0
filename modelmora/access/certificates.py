"""The certificates of our doors: read from their files, and again when these change."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import structlog

from modelmora.access.marks import mark_of
from modelmora.access.pem import content_of, first_of, load_pair, trust
from modelmora.errors import ConfigurationError
from modelmora.settings import Settings, TlsSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Content:
    """What stood in the files when they were read, in PEM."""

    chain: bytes
    key: bytes
    authorities: bytes | None
    context: ssl.SSLContext
    """Of connections that no client need show a certificate on, but may where there are any."""


class Certificates:
    """The certificates as they are now; files that cannot be used change nothing.

    May be asked from any thread. Raises ConfigurationError where the files cannot be used.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._turn = threading.Lock()
        self._mark = self._marked()
        self._content = read(settings)

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Those of these settings; None where no door encrypts. Raises ConfigurationError."""
        return cls(settings.tls) if settings.tls.certfile else None

    def now(self) -> Content:
        """The same object until a file has changed."""
        with self._turn:
            mark = self._marked()
            if mark != self._mark:
                self._mark = mark
                self._read()
            return self._content

    def context(self) -> ssl.SSLContext:
        """A context that is for each new connection what the files are then."""
        return _Current(lambda: self.now().context)

    def _read(self) -> None:
        try:
            self._content = read(self._settings)
            return
        except ConfigurationError as error:
            reason = str(error)
        log.error("certificates are as they were", reason=reason)

    def _marked(self) -> tuple[object, ...]:
        tls = self._settings
        paths = (tls.certfile, tls.keyfile, tls.client_cafile)
        return tuple(mark_of(path) for path in paths if path)


class _Current(ssl.SSLContext):
    """Hands each connection to the context of that moment.

    To load other authorities into a context would only add them.
    """

    def __new__(cls, _now: Callable[[], ssl.SSLContext]) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, now: Callable[[], ssl.SSLContext]) -> None:
        self._now = now

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        """The TLS of a connection that begins."""
        return self._now().wrap_bio(*given, **named)


def read(settings: TlsSettings) -> Content:
    """What the files hold. Raises ConfigurationError for what no door could use."""
    certfile, keyfile = settings.certfile, settings.keyfile
    if certfile is None or keyfile is None:
        raise ConfigurationError("TLS needs tls.certfile and tls.keyfile")
    chain, key = content_of("tls.certfile", certfile), content_of("tls.keyfile", keyfile)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_pair(context, "tls.certfile", certfile, keyfile)
    authorities = None
    if settings.client_cafile:
        authorities = content_of("tls.client_cafile", settings.client_cafile)
        trust(context, "tls.client_cafile", authorities)
        # Probes have none, nor has who calls with a key: the guard sees to the others.
        context.verify_mode = ssl.CERT_OPTIONAL
    _tell(certfile, chain)
    return Content(chain, key, authorities, context)


def _tell(certfile: Path, chain: bytes) -> None:
    ends = first_of(chain).not_valid_after_utc
    log.info("certificate read", file=str(certfile), until=ends.isoformat(timespec="seconds"))
