"""Objects in a bucket of an S3-compatible store, and URLs that it signs itself."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelmora.errors import ConfigurationError, MissingExtra, NotFound, Unreachable
from modelmora.objects.store import CHUNK, Full, Verb
from modelmora.settings.objects import ObjectSettings

AWS = "https://s3.amazonaws.com"
PART = 64 << 20
"""Bytes that are sent at once, and so held once more."""
_WEEK_S = 604_800
_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
_FULL = ("XMinioStorageFull", "QuotaExceeded", "EntityTooLarge")


class S3Store:
    """Objects `<prefix><hour>/<owner>/<sha256>` of one bucket."""

    def __init__(self, client: Any, signer: Any, bucket: str, prefix: str) -> None:
        """`signer` knows the store by the address that callers know."""
        self._client = client
        self._signer = signer
        self._bucket = bucket
        self._prefix = prefix
        self.home = f"s3://{bucket}/{prefix}"

    @classmethod
    def of(cls, settings: ObjectSettings) -> S3Store:
        """The store of these settings. Raises ConfigurationError, MissingExtra."""
        keys = (settings.access_key, settings.secret() or "") if settings.access_key else None
        region = settings.region or region_of_environment() or "us-east-1"  # else it is asked for
        client = connect(settings.endpoint, "objects.endpoint", region, keys, retries=0)
        public = settings.public_url
        signer = connect(public, "objects.public_url", region, keys) if public else client
        return cls(client, signer, settings.bucket, settings.prefix)

    def put(self, name: str, content: bytes | Path, media_type: str) -> None:
        """Keep this, whole or not at all; a file is taken over. Raises Full."""
        with told_plainly(f"s3://{self._bucket}"):
            place = (self._bucket, self._prefix + name)
            told: Any = {"content_type": media_type, "part_size": PART, "num_parallel_uploads": 1}
            if isinstance(content, bytes):
                data, size = io.BytesIO(content), len(content)
                self._client.put_object(*place, data, size, **told)
            else:
                self._client.fput_object(*place, str(content), **told)
                content.unlink()

    def get(self, uri: str) -> Iterator[bytes]:
        """The object in pieces. Raises NotFound."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with told_plainly(uri):
            answer = self._client.get_object(bucket, key)
        return self._pieces(answer, uri)

    def _pieces(self, answer: Any, uri: str) -> Iterator[bytes]:
        try:
            with told_plainly(uri):
                yield from answer.stream(CHUNK)
        finally:
            answer.close()
            answer.release_conn()

    def size(self, uri: str) -> int:
        """How many bytes it has. Raises NotFound."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with told_plainly(uri):
            return int(self._client.stat_object(bucket, key).size)

    def delete(self, name: str) -> None:
        """Let go of it; nothing if it is gone already."""
        with told_plainly(self.home):
            self._client.remove_object(self._bucket, self._prefix + name)

    def sweep(self, before: int) -> int:
        """Let go of all whose hour lies before this one."""
        from minio.deleteobjects import DeleteObject

        swept = 0
        with told_plainly(self.home):
            hours = [each.object_name for each in self._listed(self._prefix, recursive=False)]
            for hour in hours:
                told = hour.removeprefix(self._prefix).rstrip("/")
                if not (told.isdecimal() and int(told) < before):
                    continue
                names = [each.object_name for each in self._listed(hour, recursive=True)]
                gone = self._client.remove_objects(
                    self._bucket, [DeleteObject(name) for name in names]
                )
                swept += len(names) - sum(1 for _ in gone)  # what it yields are faults
        return swept

    def _listed(self, prefix: str, *, recursive: bool) -> Iterator[Any]:
        yield from self._client.list_objects(self._bucket, prefix, recursive=recursive)

    def sign(self, verb: Verb, name: str, media_type: str, size: int, until_ms: int) -> str:
        """A URL of the store's own; it does not hold a PUT to its size, a reader does."""
        left = timedelta(seconds=min(max(1, int(until_ms / 1000 - time.time())), _WEEK_S))
        place = (self._bucket, self._prefix + name)
        if verb == "PUT":
            return str(self._signer.presigned_put_object(*place, expires=left))
        told = {
            "response-content-type": media_type,
            "response-content-disposition": "attachment",
        }
        return str(self._signer.presigned_get_object(*place, expires=left, response_headers=told))


def region_of_environment() -> str | None:
    """As AWS's own programs are told of it."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def connect(
    endpoint: str | None,
    setting: str,
    region: str | None = None,
    keys: tuple[str, str] | None = None,
    retries: int = 3,
) -> Any:
    """A client of the store at `endpoint`, with these keys or those of the environment.

    Asks nobody yet. Raises ConfigurationError, MissingExtra.
    """
    try:
        import urllib3
        from minio import Minio
        from minio.credentials import providers
    except ImportError:
        raise MissingExtra("s3", "an S3-compatible store") from None

    url = urlsplit(endpoint or os.environ.get("AWS_ENDPOINT_URL") or AWS)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise ConfigurationError(f"{setting} must be https://HOST[:PORT] or http://…")
    chain: Any = providers.StaticProvider(*keys) if keys else None
    if chain is None:
        chain = providers.ChainedProvider(
            [
                providers.EnvAWSProvider(),
                providers.EnvMinioProvider(),
                providers.AWSConfigProvider(),
            ]
        )
        try:
            chain.retrieve()
        except ValueError:
            chain = None
    return Minio(
        url.netloc,
        secure=url.scheme == "https",
        region=region,
        credentials=chain,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=10, read=60),
            retries=urllib3.Retry(retries, backoff_factor=0.2),
            maxsize=8,
        ),
    )


@contextmanager
def told_plainly(place: str) -> Iterator[None]:
    """The library's errors in our words."""
    import urllib3
    from minio.error import MinioException, S3Error

    try:
        yield
    except S3Error as error:
        if error.code in ("NoSuchKey", "NoSuchObject"):
            raise NotFound("there is no such object; it may have expired") from None
        if error.code == "NoSuchBucket":
            raise ConfigurationError(f"there is no bucket of {place}; make it") from None
        if error.code in _DENIED:
            raise ConfigurationError(
                f"{place} may not be used ({error.code}); see objects.access_key"
            ) from None
        if error.code in _FULL:
            raise Full(f"{place} is full ({error.code})") from None
        raise Unreachable(f"the object store refuses {place} ({error.code})") from None
    except (MinioException, urllib3.exceptions.HTTPError, OSError):
        raise Unreachable(f"the object store of {place} does not answer") from None
