"""An install killed at any moment, again and again, ends right and shows nothing half meanwhile."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmora.registry import Looker, install, served_or_faults
from modelmora.settings import Settings, SourceSettings
from tests.hub import hub_server
from tests.object_stores import object_store
from tests.unit.registry.models import make_model, safetensors

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
KILLS = 25


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A model of some megabytes."""
    folder = make_model(tmp_path / "origin")
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    table = {"embeddings.word_embeddings.weight": (8, 16), "more": (400_000, 16)}
    return found | {"model.safetensors": safetensors(**table)}


@pytest.fixture(params=["hub", "s3"])
def source(
    request: pytest.FixtureRequest, files: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[str, str | None]]:  # fmt: skip
    """What to install, and the object store that has it."""
    if request.param == "hub":
        with hub_server({"org/Tiny": files}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
            yield "hf:org/Tiny", None
        return
    with object_store() as store:
        store.put("models", {f"tiny/{name}": content for name, content in files.items()})
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret)
        yield "s3://models/tiny", store.url


def test_installs_that_are_killed(source: tuple[str, str | None], tmp_path: Path) -> None:
    wanted, store = source
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        sources=SourceSettings(s3_endpoint=store),
    )
    environment = os.environ | {
        "MODELMORA_CACHE_DIR": str(settings.cache_dir),
        "MODELMORA_SOURCES__S3_ENDPOINT": store or "",
    }
    command = [sys.executable, "-m", "modelmora.cli", "install", wanted]
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*command, "--data-dir", str(settings.data_dir)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(random.uniform(0.5, 2.0))
        process.kill()
        process.wait()
        for looked in Looker(settings).look(served_or_faults(settings).definitions):
            assert looked.fault is None, "what is known is whole"
    definition = install(settings, wanted)
    (looked,) = Looker(settings).look((definition,))
    assert looked.fault is None
    assert len(definition.details.files) == 4
