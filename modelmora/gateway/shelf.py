"""Large content as callers have it: told with a URL, fetched for them, taken from them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol

import structlog

from modelmora.errors import Code, ModelMoraError, NotFound, RequestError
from modelmora.gateway.caller import caller
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Content, InferenceResult, ObjectRef, SignedRef
from modelmora.objects import Bad, Objects, Upload, content_of
from modelmora.objects.contents import BYTES, media_type_of
from modelmora.objects.folder import FolderStore
from modelmora.objects.keys import Key, owner_of
from modelmora.objects.store import Full
from modelmora.web.problems import DoorCode

log = structlog.get_logger(__name__)
MOST_NAMED = 32 << 20


class Holder(Protocol):
    """Who counts the bytes of content here; see `hall.Hall`."""

    def hold(self, size: int) -> None:
        """So many more; raises Refusal when it is too much."""

    def release(self, size: int) -> None:
        """So many less."""


class Shelf:
    """The object store, for the caller of the context it is called in.

    Without a store (`objects` None) references stay as they are, and nothing is taken. An object is
    its principal's alone: no other is told of it, or given a URL. `check` raises Refusal where the
    caller may bring nothing.
    """

    def __init__(
        self, objects: Objects | None = None, check: Callable[[], None] = lambda: None
    ) -> None:
        self.objects = objects
        self._check = check

    def served_at(self, url: str) -> None:
        """Where this gateway is, for URLs to its folder unless `objects.public_url` says else."""
        if self.objects and not self.objects.base:
            self.objects.base = url

    @property
    def folder(self) -> FolderStore | None:
        """The folder whose objects this gateway serves itself."""
        store = self.objects and self.objects.store
        return store if isinstance(store, FolderStore) else None

    def signed(self, result: InferenceResult) -> InferenceResult:
        """The result with a fresh URL beside each reference to what is the caller's."""
        if not any(isinstance(each, ObjectRef) for each in result.outputs):
            return result
        return replace(result, outputs=tuple(map(self._signed, result.outputs)))

    def _signed(self, content: Content) -> Content:
        if self.objects is None or not isinstance(content, ObjectRef):
            return content
        try:
            url = self.objects.url(content, caller.get())
        except ModelMoraError as error:
            log.warning("an object was not signed", reason=str(error))
            return content
        told = (content.uri, content.sha256, content.size, content.media_type, content.expires_at)
        return SignedRef(*told, url) if url else content

    @asynccontextmanager
    async def whole(
        self, result: InferenceResult, holder: Holder
    ) -> AsyncGenerator[InferenceResult]:
        """The result with the caller's objects themselves in place of their references.

        For answers that have no place for a URL; their bytes are held meanwhile. Raises Refusal.
        """
        size = sum(each.size for each in result.outputs if isinstance(each, ObjectRef))
        if not size:
            yield result
            return
        holder.hold(size)
        try:
            outputs = [
                await self._content(each) if isinstance(each, ObjectRef) else each
                for each in result.outputs
            ]
            yield replace(result, outputs=tuple(outputs))
        finally:
            holder.release(size)

    async def _content(self, ref: ObjectRef) -> Content:
        pieces = [piece async for piece in self.chunks(ref)]
        with _told_plainly():
            return content_of(b"".join(pieces), ref.media_type)

    async def chunks(self, ref: ObjectRef) -> AsyncGenerator[bytes]:
        """An object of the caller's in pieces of at most 1 MiB, as fast as they are taken.

        Raises Refusal (`gone`, or `store_unavailable`).
        """
        objects = self._objects()
        with _told_plainly():
            objects.check(ref, caller.get())
            pieces = objects.get(ref)
            while piece := await asyncio.to_thread(next, pieces, b""):
                yield piece

    async def keep(
        self, content: bytes | Path, media_type: str, until_ms: int | None = None
    ) -> ObjectRef:
        """Keep this for the caller, as long as results are or until then (Unix ms).

        A file is taken over. Raises Refusal.
        """
        objects = self._objects()
        with _told_plainly():
            return await asyncio.to_thread(objects.put, content, media_type, caller.get(), until_ms)

    @property
    def most_bytes(self) -> int:
        """How many an object may have. Raises Refusal."""
        return self._objects().settings.object_bytes

    @contextmanager
    def incoming(self, size: int) -> Iterator[tuple[BinaryIO, Path]]:
        """A new file for content that comes in pieces, gone at the end unless it was kept.

        `size` is how much that may be. Raises Refusal.
        """
        self._check()
        with _told_plainly():
            self._objects().check_size(size)
            if self.folder:
                self.folder.reserve(size)
        with self.folder.incoming() if self.folder else _temporary() as made:
            yield made

    async def drop(self, ref: ObjectRef) -> None:
        """Let go of an object of the caller's. Raises Refusal."""
        objects = self._objects()
        key = objects.key(ref)
        if key and key.owner == owner_of(caller.get()):
            with _told_plainly():
                await asyncio.to_thread(objects.store.delete, key.name)

    async def named(self, uri: str) -> ObjectRef | None:
        """The object of the caller's that is named by its uri, or by a URL that it was told.

        What lies in one of `objects.input_buckets` is read, up to 32 MiB, and kept for the caller.
        None for every other name: nothing is fetched from an address. Raises Refusal.
        """
        self._check()
        objects = self.objects
        if objects is None:
            return None
        if objects.is_allowed(uri):
            with _told_plainly():
                content = await asyncio.to_thread(_read, objects, uri)
            return await self.keep(content, media_type_of(content))
        key = Key.read("/".join(uri.partition("?")[0].split("/")[-3:]))
        if key is None or key.owner != owner_of(caller.get()):
            return None
        own = objects.store.home + key.name
        with _told_plainly():
            size = await asyncio.to_thread(objects.store.size, own)
        return ObjectRef(own, key.sha256, size, BYTES, key.ends_ms)

    def announce(self, sha256: str, size: int, media_type: str) -> Upload:
        """Where the caller may put this, and the reference to it. Raises Refusal."""
        self._check()
        objects = self._objects()
        with _told_plainly():
            return objects.announce(sha256, size, media_type, caller.get())

    def _objects(self) -> Objects:
        if self.objects is None:
            raise Refusal(DoorCode.REFUSED, "no object store is set here; see objects.store")
        return self.objects


@contextmanager
def _temporary() -> Iterator[tuple[BinaryIO, Path]]:
    handle, name = tempfile.mkstemp(prefix="modelmora-")
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            yield file, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _read(objects: Objects, uri: str) -> bytes:
    found = bytearray()
    for piece in objects.store.get(uri):
        found += piece
        if len(found) > MOST_NAMED:
            raise RequestError(Code.TOO_LARGE, "an object that is named alone may have 32 MiB")
    return bytes(found)


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Errors of the store as refusals."""
    try:
        yield
    except RequestError as error:
        raise Refusal(error.code, error.message) from None
    except (NotFound, Bad) as error:
        raise Refusal(DoorCode.GONE, str(error)) from None
    except Full as error:
        raise Refusal(Code.TOO_LARGE, str(error)) from None
    except ModelMoraError as error:
        raise Refusal(Code.STORE_UNAVAILABLE, str(error)) from None
