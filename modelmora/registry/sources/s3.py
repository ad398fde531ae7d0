"""A model under a prefix of an S3-compatible bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelmora.errors import ConfigurationError, MissingExtra, NotFound, Unreachable
from modelmora.objects.s3 import connect, region_of_environment
from modelmora.registry.sources.base import File, Found
from modelmora.registry.sources.cache import Cache, missing
from modelmora.registry.sources.kept import Kept

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class S3(Kept):
    """`bucket/prefix`, with AWS_* or MINIO_* variables or ~/.aws/credentials, else anonymously."""

    place: str
    endpoint: str | None
    cache: Cache

    def resolve(self) -> Found:
        """The objects under the prefix; their names, sizes and ETags are the revision."""
        with _told_plainly(self._source):
            listed = [
                *_client(self.endpoint).list_objects(self._bucket, self._prefix, recursive=True)
            ]
        found = [each for each in listed if not each.is_dir and not each.object_name.endswith("/")]
        if not found:
            raise NotFound(f"nothing lies under {self._source}")
        names = [(each.object_name.removeprefix(self._prefix), each) for each in found]
        told = "\n".join(f"{name} {each.size} {each.etag}" for name, each in sorted(names))
        revision = hashlib.sha256(told.encode()).hexdigest()[:40]
        return Found(revision, tuple(_file(name, each) for name, each in names))

    def folder(self, revision: str | None) -> Path:
        """Its folder in the cache."""
        folder = self.cache.folder(self._source, revision or "-")
        if not folder.is_dir():
            raise missing(self._source)
        return folder

    @property
    def _source(self) -> str:
        return f"s3://{self.place}"

    @property
    def _bucket(self) -> str:
        return self.place.partition("/")[0]

    @property
    def _prefix(self) -> str:
        prefix = self.place.partition("/")[2]
        return f"{prefix}/" if prefix else ""

    @contextmanager
    def _read(self, file: File, offset: int) -> Iterator[Iterator[bytes]]:
        with _told_plainly(self._source):
            answer = _client(self.endpoint).get_object(
                self._bucket,
                self._prefix + file.path,
                offset=offset,
                request_headers={"If-Match": f'"{file.etag}"'} if file.etag else None,
            )
            try:
                yield answer.stream(_CHUNK)
            finally:
                answer.close()
                answer.release_conn()


def _file(name: str, listed: Any) -> File:
    return File(name, listed.size or 0, etag=(listed.etag or "").strip('"') or None)


def _client(endpoint: str | None) -> Any:
    return connect(endpoint, "sources.s3_endpoint", region_of_environment())


@contextmanager
def _told_plainly(source: str) -> Iterator[None]:
    """The library's errors in our words, and that it is not installed."""
    try:
        import urllib3
        from minio.error import MinioException, S3Error
    except ImportError:
        raise MissingExtra("s3", "a model from S3") from None
    try:
        yield
    except S3Error as error:
        if error.code in ("NoSuchBucket", "NoSuchKey"):
            raise NotFound(f"there is no {source}") from None
        if error.code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            raise ConfigurationError(
                f"{source} may not be read ({error.code}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            ) from None
        if error.code == "PreconditionFailed":
            raise Unreachable(f"{source} changed meanwhile; install it again") from None
        raise Unreachable(f"the object store refuses {source} ({error.code})") from None
    except (MinioException, urllib3.exceptions.HTTPError):
        raise Unreachable(
            f"the object store of {source} does not answer; is sources.s3_endpoint right?"
        ) from None
