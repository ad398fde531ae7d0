"""The gateway's image, built from the Dockerfile without a container engine, serves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from tests.programs import ROOT, eventually
from tests.stations import running

pytestmark = pytest.mark.faults
IMAGE = "localhost/modelmora:gateway"
MOST_BYTES = 250_000_000
"""With Debian and its Python."""
WRITABLE = ("var/lib/modelmora", "tmp", "proc", "sys", "dev", "run")
BUILD_S = 1800
CAP_S = 120
ECHO = [{"name": "echo", "task": "echo", "source": "builtin:echo"}]


def buildah(*arguments: str) -> str:
    done = subprocess.run(
        ["buildah", *arguments], check=True, capture_output=True, text=True, timeout=CAP_S
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A container of the image; nothing runs in it yet."""
    if not (shutil.which("buildah") and shutil.which("mmdebstrap")) or os.getuid():
        pytest.skip("images are built as root, with Debian's buildah and mmdebstrap")
    subprocess.run([ROOT / ".ci/images", "gateway"], check=True, timeout=BUILD_S)
    made = buildah("from", "--pull-never", IMAGE)
    yield made
    buildah("rm", made)


def told_of_image() -> dict[str, Any]:
    """What the image says of itself."""
    told: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", IMAGE))
    return told


@contextmanager
def serving(container: str, log: Path, **settings: object) -> Iterator[str]:
    """Run what the image runs, and give the address of its REST door."""
    own = [f"--env=MODELMORA_{name}={value}" for name, value in settings.items()]
    config = told_of_image()["OCIv1"]["config"]
    words = [*config["Entrypoint"], *config["Cmd"]]
    command = ["buildah", "run", "--isolation", "chroot", *own, container, "--", *words]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)

    def told() -> str:
        assert process.poll() is None, log.read_text()
        for line in log.read_text().splitlines():
            with suppress(ValueError):
                if (said := json.loads(line))["event"] == "gateway ready":
                    return str(said["http"])
        return ""

    try:
        yield eventually(told, "the gateway is ready", CAP_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(CAP_S)


def files(root: Path) -> dict[str, os.stat_result]:
    """What lies in an image, by its place, without what is the machine's or may be written."""
    found = {str(each.relative_to(root)): each.lstat() for each in root.rglob("*")}
    return {name: each for name, each in found.items() if not name.startswith(WRITABLE)}


def test_the_gateways_image_serves_and_writes_nowhere_else(
    container: str, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    root = Path(buildah("mount", container))
    before = files(root)
    assert sum(each.st_size for each in before.values() if S_ISREG(each.st_mode)) < MOST_BYTES
    with running(broker.bootstrap_servers, tmp_path, json.dumps(ECHO)) as station:
        settings = {
            "BOOTSTRAP_SERVERS": station.servers,
            "NAMESPACE": station.namespace,
            "HOST": "127.0.0.1",
            "HTTP_PORT": 0,
            "GRPC_PORT": 0,
        }
        with serving(container, tmp_path / "gateway.log", **settings) as url:
            body = {"inputs": ["from an image"]}
            answer = httpx.post(f"{url}/infer/echo", json=body, timeout=CAP_S)
            assert answer.status_code == 200, answer.text
            assert answer.json()["outputs"] == ["from an image"]
            health = told_of_image()["Docker"]["config"]["Healthcheck"]["Test"]
            assert health[0] == "CMD"
            buildah("run", "--isolation", "chroot", container, "--", *health[1:])
    after = files(root)
    written = {name for name in after if name not in before or after[name] != before[name]}
    assert not {name for name in written if S_ISREG(after[name].st_mode)}
