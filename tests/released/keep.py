"""`python -m tests.released.keep NAME`: keep what a release writes, for those that come to read it.

Run it in a checkout of the release; the folder is to be committed beside the others.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.state import Entry
from modelmora.records.store import Store
from modelmora.registry.lock import write_lock
from modelmora.settings import ModelConfig, Settings
from modelmora.wire import encode_registry
from tests.tiny_models import make_tiny
from tests.unit.wire.pairs import PAIRS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
EXAMPLES = 8
PLACE = "topic", 7


def told(message: Any) -> dict[str, str]:
    """The fields of a message as text; a later release may have more."""
    return {field.name: repr(getattr(message, field.name)) for field in fields(message)}


def keep(folder: Path) -> None:
    """Write all of it."""
    folder.mkdir()
    records = [
        {"schema": pair.schema, "value": pair.encode(message).hex(), "told": told(message)}
        for pair in PAIRS
        for message in (pair.values.example() for _ in range(EXAMPLES))
    ]
    kinds = [
        RegistryRecord(kind, "m", "1", "echo", "builtin:echo", "n1", details="{}")
        for kind in RegistryKind
        if kind is not RegistryKind.NODE
    ]
    records += [
        {"schema": "registry_record", "value": encode_registry(each).hex(), "told": told(each)}
        for each in kinds
    ]
    (folder / "records.json").write_text(json.dumps(records, indent=1) + "\n")
    store = Store(folder / "registry.sqlite")
    store.open()
    entries = [(f"{each.kind}:m@1".encode(), Entry(n, each)) for n, each in enumerate(kinds)]
    store.keep(*PLACE, entries)
    store.close()
    model = folder / "model"
    config = ModelConfig(name="m", source=str(make_tiny(model)), task="txt2embed")
    settings = Settings(lock_file=folder / "modelmora.lock", data_dir=model, models=(config,))
    write_lock(settings)
    shutil.rmtree(model)
    for path in ("modelmora/settings/schema.json", "modelmora/settings/models.schema.json"):
        shutil.copy(ROOT / path, folder)
    if (ROOT / "k8s/chart/values.yaml").exists():
        shutil.copy(ROOT / "k8s/chart/values.yaml", folder)


if __name__ == "__main__":
    keep(HERE / sys.argv[1])
