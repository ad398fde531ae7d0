"""The programs of `docs/howto/clients.md` in other languages, against a real broker and node."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import avro.io
import avro.schema
import pytest

from modelmora.wire import partition_of
from tests.nodes import PARTITIONS
from tests.programs import ROOT, eventually
from tests.stations import Station
from tests.topics import create_topic, values_of

CALLERS = ROOT / "tests" / "callers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelmora" / "callers"
BUILT = {"ask", "node_modules", "target"}
"""What is there where somebody has built them in place."""
CAP_S = 300
MODEL = "mirror"
"""Its hash has the sign bit set, and CRC32 would place it elsewhere."""


def tool(name: str) -> str:
    """Where a program is; skips the test where it is not installed."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), 5).close()
    except OSError:
        return False
    return True


def made(language: str, host: str, fetch: list[str], build: list[str] | None = None) -> Path:
    """The folder of a caller with its libraries, kept from run to run.

    Skips the test where the host that has them cannot be reached.
    """
    source = CALLERS / language
    files = sorted(
        path for path in source.rglob("*") if path.is_file() and not BUILT & {*path.parts}
    )
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
    kept = CACHE / f"{language}-{digest[:16]}"
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            shutil.copytree(
                source, folder, ignore=shutil.ignore_patterns(*BUILT), dirs_exist_ok=True
            )
            done = subprocess.run(
                fetch, cwd=folder, timeout=CAP_S, check=False, capture_output=True, text=True
            )
            if done.returncode and not reachable(host):
                pytest.skip(f"{language}: {host}, which has its libraries, cannot be reached")
            assert done.returncode == 0, done.stdout + done.stderr
            if build:
                subprocess.run(build, cwd=folder, timeout=CAP_S, check=True)
            Path(folder).rename(kept)
            Path(folder).mkdir()
    return kept


def in_java(language: str, main: str) -> list[str]:
    """Java with the libraries of a Maven project."""
    fetch = [tool("mvn"), "-q", "-B", "dependency:copy-dependencies"]
    path = "target/dependency/*"
    source = f"src/main/java/{main}.java"
    build = [tool("javac"), "-cp", path, "-d", "target", source]
    folder = made(language, "repo.maven.apache.org", fetch, build)
    return [tool("java"), "-cp", f"{folder}/target:{folder}/{path}", main]


def in_go() -> list[str]:
    go = tool("go")
    build = [go, "build", "-o", "ask", "."]
    return [str(made("go", "proxy.golang.org", [go, "mod", "download"], build) / "ask")]


def in_node() -> list[str]:
    fetch = [tool("npm"), "ci", "--no-audit", "--no-fund", "--fetch-retries=0"]
    folder = made("node", "registry.npmjs.org", fetch)
    return [tool("node"), str(folder / "ask.js")]


def in_python() -> list[str]:
    return [sys.executable, str(CALLERS / "python" / "ask.py")]


def in_kcat() -> list[str]:
    tool("kcat")
    return ["bash", "-e", str(CALLERS / "kcat" / "ask.sh")]


def told(station: Station, command: list[str], *words: str) -> list[str]:
    """The lines that a caller prints."""
    env: Mapping[str, str] = {
        **os.environ,
        "KAFKA": station.servers,
        "NAMESPACE": station.namespace,
    }
    done = subprocess.run(
        [*command, MODEL, *words],
        cwd=ROOT,
        env=env,
        timeout=CAP_S,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "command",
    [in_python, in_kcat, in_go, in_node, partial(in_java, "java", "Ask")],
    ids=["python", "kcat", "go", "node", "java"],
)
def test_a_caller(station: Station, command: Callable[[], list[str]]) -> None:
    outcome, *events = told(station, command(), "Kafka is a log.")
    request_id, rest = outcome.split(" ", 1)
    assert "COMPLETED" in rest
    assert "Kafka is a log." in rest
    loaded = rf"loaded.*{MODEL}@1|{MODEL} .*modelmora\.loaded|registered {MODEL}$"
    assert any(re.search(loaded, event) for event in events), events
    (answer,) = station.seen.answers([request_id])
    assert answer.source.partition == partition_of(MODEL.encode(), PARTITIONS)


@pytest.mark.faults
def test_springs_own_template(station: Station) -> None:
    replies = f"{station.namespace}-replies"
    create_topic(station.servers, replies)
    (reply,) = told(station, in_java("spring", "Reply"), "Kafka is a log.", replies)
    assert json.loads(reply)["outputs"] == ["Kafka is a log."]


def test_events_are_read_by_apaches_avro(station: Station) -> None:
    schema = avro.schema.parse((ROOT / "schemas" / "lifecycle_event.avsc").read_text())
    topic = f"{station.namespace}.events"

    def read() -> bool:
        found = [
            avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(value[10:])))
            for value in values_of(station.servers, topic)
            if value
        ]
        return {event["kind"] for event in found} >= {"node_joined", "registered"}

    eventually(read, "the events", CAP_S)
