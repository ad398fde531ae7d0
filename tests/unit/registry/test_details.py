"""What may be told of a model: read from a file, kept, and refused where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmora.errors import ConfigurationError
from modelmora.registry.definitions import read_definition
from modelmora.settings import FOREVER, ModelDetails

TOLD: dict[str, Any] = {
    "revision": "9f2c",
    "files": [{"path": "onnx/model.onnx", "size": 3, "sha256": "a" * 64}],
    "adapter": {"source": "/a", "revision": "1"},
    "licence": {"name": "Apache-2.0", "read_from": "LICENSE", "confirmed_at": "2026-11-29"},
    "needs": {"memory_mb": 512},
    "parameters": {"truncate": True, "stop": ["a", "b"], "top_p": 0.5, "n": 3},
    "options": {"slots": 4, "projector": None},
    "keep_alive": FOREVER,
    "pinned": True,
    "preload": True,
    "warm_up": "Hello",
    "replicas": {"max": 2},
    "spread": 3,
    "runtime": "vllm",
    "card": {"language": ["en"]},
    "metadata": {"languages": ["en"]},
}


def _write(folder: Path, **told: object) -> Path:
    path = folder / "m" / "1.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({"name": "m", "task": "t", "source": "/s", **told}))
    return path


def test_all_that_is_told_is_kept(tmp_path: Path) -> None:
    definition = read_definition(_write(tmp_path, **TOLD))
    assert definition.details.model_dump(mode="json", exclude_defaults=True) == TOLD
    again = read_definition(_write(tmp_path, **definition.as_dict()))
    assert (again, hash(again)) == (definition, hash(definition))
    assert set(TOLD) == set(ModelDetails.model_fields), "one of each"


def test_a_date_is_taken_for_what_it_says(tmp_path: Path) -> None:
    path = _write(tmp_path)
    path.write_text(path.read_text() + "licence: {name: MIT, confirmed_at: 2026-11-29}\n")
    licence = read_definition(path).details.licence
    assert licence
    assert licence.confirmed_at == "2026-11-29"


@pytest.mark.parametrize(
    "told",
    [
        {"files": [{"path": "../x", "size": 1, "sha256": "a" * 64}]},
        {"files": [{"path": "/x", "size": 1, "sha256": "a" * 64}]},
        {"files": [{"path": "x", "size": 1, "sha256": "A" * 64}]},
        {"version": ".1"},  # its file would be a hidden one, which nobody reads
        {"version": "-1"},
        {"licence": {"name": ""}},
        {"needs": {"memory_mb": 0}},
        {"needs": {"memory_mb": True}},
        {"parameters": {"n": 1 << 63}},
        {"parameters": {"n": {"deep": 1}}},
        {"parameters": {"n": float("nan")}},
        {"keep_alive": -0.5},
        {"keep_alive": -2},
        {"keep_alive": True},
        {"replicas": {"min": 2}},
        {"replicas": {"min": 0}},
        {"runtime": "../python"},
        {"runtime": "r" * 65},  # `runtimes` takes no such name
        {"keepalive": 3},
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(told))):
        read_definition(_write(tmp_path, **told))
