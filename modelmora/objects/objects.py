"""Content by reference: kept for a principal, read as it was said to be, signed, swept."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelmora.errors import Code, ConfigurationError, RequestError, Unreachable
from modelmora.heard import LastWord
from modelmora.messages import ObjectRef
from modelmora.objects.folder import FolderStore
from modelmora.objects.keys import HOUR_MS, Key, key_of, owner_of
from modelmora.objects.store import Bad, Store, Verb
from modelmora.settings import Settings
from modelmora.settings.objects import ObjectSettings
from modelmora.text import size as as_size

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")


@dataclass(frozen=True, slots=True)
class Upload:
    """Where a caller may put what it has announced; `ref` is then an input like any other."""

    ref: ObjectRef
    url: str


class Objects:
    """The objects of one store. `put`, `get`, `read` and `sweep` block, and are for a thread.

    They raise Unreachable as the store does. `now_ms` is Unix ms.
    """

    def __init__(
        self,
        store: Store,
        settings: ObjectSettings,
        now_ms: Callable[[], float] = lambda: time.time() * 1000,
    ) -> None:
        self.store = store
        self.settings = settings
        self.base = (settings.public_url or "").rstrip("/")
        """What a path of the gateway's is put behind to be a URL."""
        self._now_ms = now_ms
        self.last = LastWord()
        """Whether the store answered when contents were put, read or swept."""

    def put(
        self,
        content: bytes | Path,
        media_type: str,
        principal: str,
        expires_at: int | None = None,
    ) -> ObjectRef:
        """Keep it for this principal, until then (Unix ms); a file is taken over. Raises Full."""
        if isinstance(content, bytes):
            size, sha256 = len(content), hashlib.sha256(content).hexdigest()
        else:
            with content.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = content.stat().st_size
        key, ref = self._new(sha256, size, media_type, principal, expires_at)
        with self._asked():
            self.store.put(key.name, content, media_type)
        return ref

    def announce(self, sha256: str, size: int, media_type: str, principal: str) -> Upload:
        """A place for content that this principal will put. Raises RequestError."""
        if not _SHA256.fullmatch(sha256):
            raise RequestError(Code.INVALID_INPUT, "sha256 is 64 of 0-9 a-f")
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise RequestError(Code.INVALID_INPUT, "media_type is up to 255 visible ASCII")
        self.check_size(size)
        key, ref = self._new(sha256, size, media_type, principal)
        return Upload(ref, self._url("PUT", key, ref))

    def check(self, ref: ObjectRef, principal: str) -> None:
        """Whether a request of this principal may have this read. Raises RequestError.

        (1) It is no larger than an object may be, and has not expired.
        (2) It is one of ours, of this principal, and what its name says.
        (3) Or it lies in a bucket that is named in `objects.input_buckets`.
        """
        # (1)
        self.check_size(ref.size)
        if ref.expires_at <= self._now_ms():
            raise _invalid("the object has expired; put it there again")
        # (2)
        if (key := self.key(ref)) is not None:
            if key.owner != owner_of(principal):
                raise _invalid("there is no such object of yours")
            if key.sha256 != ref.sha256:
                raise _invalid("sha256 is not that of the object")
            if key.ends_ms <= self._now_ms():
                raise _invalid("the object has expired; put it there again")
            return
        # (3)
        if not self.is_allowed(ref.uri):
            raise _invalid(
                "its uri may not be read; put the content there by POST /objects, or see "
                "objects.input_buckets"
            )
        if not _SHA256.fullmatch(ref.sha256):
            raise _invalid("sha256 is 64 of 0-9 a-f")

    def is_allowed(self, uri: str) -> bool:
        """Whether it lies in one of `objects.input_buckets`."""
        return self.store.home.startswith("s3://") and any(
            uri.startswith(f"s3://{bucket}/") for bucket in self.settings.input_buckets
        )

    def key(self, ref: ObjectRef) -> Key | None:
        """Its key, where it is one of ours."""
        home = self.store.home
        return Key.read(ref.uri.removeprefix(home)) if ref.uri.startswith(home) else None

    def get(self, ref: ObjectRef) -> Iterator[bytes]:
        """The object in pieces. Raises NotFound, and Bad where it is another than its reference.

        What was given by then is not to be used.
        """
        seen, digest = 0, hashlib.sha256()
        with self._asked():
            for piece in self.store.get(ref.uri):
                seen += len(piece)
                if seen > ref.size:
                    break
                digest.update(piece)
                yield piece
        if seen != ref.size or digest.hexdigest() != ref.sha256:
            raise Bad("the object is not what its reference says; its size or sha256 differs")

    def read(self, ref: ObjectRef) -> bytes:
        """The whole object; raises as `get`."""
        return b"".join(self.get(ref))

    def url(self, ref: ObjectRef, principal: str) -> str | None:
        """A URL to read it by, good until it expires; None where it is not this principal's."""
        key = self.key(ref)
        if key is None or key.owner != owner_of(principal) or ref.expires_at <= self._now_ms():
            return None
        return self._url("GET", key, ref)

    def sweep(self) -> int:
        """Let go of what has expired; several may do so at once. How many objects those were."""
        with self._asked():
            return self.store.sweep(int(self._now_ms()) // HOUR_MS)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except (Unreachable, ConfigurationError) as error:
            self.last.silent(str(error))
            raise
        self.last.answered()

    def _new(
        self,
        sha256: str,
        size: int,
        media_type: str,
        principal: str,
        expires_at: int | None = None,
    ) -> tuple[Key, ObjectRef]:
        expires_at = expires_at or int(self._now_ms() + self.settings.ttl_s * 1000)
        key = key_of(sha256, principal, expires_at)
        return key, ObjectRef(self.store.home + key.name, sha256, size, media_type, expires_at)

    def _url(self, verb: Verb, key: Key, ref: ObjectRef) -> str:
        until = min(ref.expires_at, key.ends_ms)
        url = self.store.sign(verb, key.name, ref.media_type, ref.size, until)
        return self.base + url if url.startswith("/") else url

    def check_size(self, size: int) -> None:
        """Raises RequestError (too_large) above `objects.object_bytes`."""
        most = self.settings.object_bytes
        if not 0 <= size <= most:
            raise RequestError(
                Code.TOO_LARGE, f"objects may have {as_size(most)}, and this is {size} bytes"
            )


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_INPUT, message)


def open_objects(settings: Settings) -> Objects | None:
    """The objects of this instance; None where no store is set that its parts share.

    Raises ConfigurationError, MissingExtra.
    """
    own = settings.objects
    if own.store == "s3":
        from modelmora.objects.s3 import S3Store

        return Objects(S3Store.of(own), own)
    folder = settings.objects_folder
    return Objects(FolderStore(folder, own.quota_bytes), own) if folder else None
