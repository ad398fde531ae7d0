"""A real object store: versitygw where it is installed (`make tools`), else moto's server."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.programs import eventually

PATH = Path(sys.executable).parent


@dataclass(frozen=True)
class ObjectStore:
    """Where it listens, and who may ask."""

    url: str
    client: Any
    key: str = "test-key"
    secret: str = "test-secret"

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Write objects, into a bucket that is made where it is missing."""
        if not self.client.bucket_exists(bucket):
            self.client.make_bucket(bucket)
        for name, content in objects.items():
            self.client.put_object(bucket, name, io.BytesIO(content), len(content))


@contextmanager
def object_store(port: int | None = None) -> Iterator[ObjectStore]:
    """A running one, empty, on this port or any."""
    from minio import Minio

    port = port or free_port()
    address = f"127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        if gateway := shutil.which("versitygw", path=f"{PATH}:{os.environ['PATH']}"):
            keys = ["-a", ObjectStore.key, "-s", ObjectStore.secret]
            command = [gateway, "-p", address, *keys, "posix", folder]
        else:
            command = [sys.executable, "-m", "moto.server", "-p", str(port)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(folder)
        )
        store = ObjectStore(
            f"http://{address}",
            Minio(address, ObjectStore.key, ObjectStore.secret, secure=False, region="us-east-1"),
        )
        try:
            eventually(lambda: _answers(port), "the object store listens")
            yield store
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
