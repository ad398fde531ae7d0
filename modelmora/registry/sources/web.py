"""A model that is one file behind an address, on a host that the settings name."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import ssl
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import httpcore

from modelmora.errors import ConfigurationError, NotFound, Unreachable
from modelmora.registry.sources.base import File, Found
from modelmora.registry.sources.cache import Cache, missing
from modelmora.registry.sources.kept import Kept
from modelmora.registry.sources.local import SINGLE
from modelmora.text import printable, shorten

MOST_REDIRECTS = 5
_TIMES = {"timeout": {"connect": 10.0, "read": 60.0, "write": 10.0, "pool": 10.0}}


@dataclass(frozen=True, slots=True)
class Web(Kept):
    """`host/path/file.gguf`, or .onnx; `#sha256=…` behind it is what the file must hash to."""

    place: str
    hosts: frozenset[str]
    private: bool
    cache: Cache

    def resolve(self) -> Found:
        """The file; its sum is its revision, else what the server calls its state."""
        with self._opened("HEAD", 0) as answer:
            headers = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
        size = headers.get(b"content-length", "")
        if not size.isdecimal():
            raise ConfigurationError(f"{self._source} does not say how large it is")
        sha256 = urlsplit(self._source).fragment.removeprefix("sha256=") or None
        state = f"{headers.get(b'etag')} {headers.get(b'last-modified')} {size}"
        revision = (sha256 or hashlib.sha256(state.encode()).hexdigest())[:40]
        etag = headers.get(b"etag")
        return Found(revision, (File(self._name, int(size), sha256, etag=etag),))

    def folder(self, revision: str | None) -> Path:
        """The file in the cache."""
        path = self.cache.folder(self._source, revision or "-") / self._name
        if not path.is_file():
            raise missing(self._source)
        return path

    @property
    def _source(self) -> str:
        return f"https://{self.place}"

    @property
    def _name(self) -> str:
        name = unquote(PurePosixPath(urlsplit(self._source).path).name)
        if not name.endswith(SINGLE):
            raise ConfigurationError(
                f"{self._source}: by address a model is one .gguf or .onnx file; for a folder of "
                "files use hf: or s3:"
            )
        return name

    @contextmanager
    def _read(self, file: File, offset: int) -> Iterator[Iterator[bytes]]:
        with self._opened("GET", offset, file.etag) as answer:
            if offset and answer.status != 206:
                raise Unreachable(f"{self._source} cannot be gone on with; install it again")
            yield answer.iter_stream()

    @contextmanager
    def _opened(self, method: str, offset: int, etag: str | None = None) -> Iterator[Any]:
        """The answer, after as many redirects as lead to hosts that are allowed."""
        self._name  # noqa: B018  # refused before anything is asked
        url = self._source.partition("#")[0]
        asked = [("Range", f"bytes={offset}-")] if offset else []
        asked += [("If-Match", etag)] if etag and not etag.startswith("W/") else []
        context = ssl.create_default_context()
        with httpcore.ConnectionPool(context, network_backend=_Vetted(self.private)) as pool:
            for _ in range(MOST_REDIRECTS + 1):
                check_address(url, self.hosts)
                headers = [("Host", urlsplit(url).netloc), ("User-Agent", "modelmora"), *asked]
                with (
                    _told_plainly(url),
                    pool.stream(method, url, headers=headers, extensions=_TIMES) as answer,
                ):
                    if answer.status not in (301, 302, 303, 307, 308):
                        _check_status(answer.status, url)
                        yield answer
                        return
                    url = urljoin(url, _location(answer.headers))
        raise Unreachable(f"{self._source} leads from address to address without an end")


def check_address(url: str, hosts: Collection[str]) -> None:
    """Raises ConfigurationError unless it is https and its host one of those allowed."""
    parts = urlsplit(url)
    told = shorten(printable(url), 120)
    if parts.scheme != "https":
        raise ConfigurationError(f"{told} is not https")
    if (parts.hostname or "") not in {host.lower() for host in hosts}:
        raise ConfigurationError(
            f"{printable(parts.hostname or '')} is no host that models may come from; name it in "
            "`sources.allowed_hosts`"
        )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open network."""
    ip = ipaddress.ip_address(address)
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return bool(mapped.is_global and not mapped.is_multicast)


class _Vetted(httpcore.SyncBackend):
    """Connects to public addresses only; what a name stands for is asked once, and then used."""

    def __init__(self, private: bool) -> None:
        super().__init__()
        self._private = private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            raise Unreachable(f"{printable(host)} has no address; is there a network?") from None
        address = str(found[0][4][0])
        if not self._private and not is_public(address):
            raise ConfigurationError(
                f"{printable(host)} is {address}, which is private; `sources.private_addresses: "
                "true` allows such"
            )
        return super().connect_tcp(address, port, timeout, local_address, socket_options)


def _location(headers: Iterable[tuple[bytes, bytes]]) -> str:
    found = (value for name, value in headers if name.lower() == b"location")
    return next(found, b"").decode("latin-1")


def _check_status(status: int, url: str) -> None:
    told = shorten(printable(url), 120)
    if status in (404, 410):
        raise NotFound(f"there is no {told}")
    if status == 412:
        raise Unreachable(f"{told} changed meanwhile; install it again")
    if status not in (200, 206):
        raise Unreachable(f"{told} is refused ({status})")


@contextmanager
def _told_plainly(url: str) -> Iterator[None]:
    try:
        yield
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        host = printable(urlsplit(url).netloc)
        raise Unreachable(f"{host} does not answer as it should; try again") from None
