"""ONNX forms of models: written by a process of their own, then told in a definition."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from modelmora.engines.graphs.forms import SAME
from modelmora.errors import ConfigurationError, ModelMoraError
from modelmora.registry.definitions import ModelDefinition, definition_path
from modelmora.registry.install import write_definition
from modelmora.registry.look import Looked
from modelmora.settings import Settings
from modelmora.surroundings import interpreter

MODULE = "modelmora.engines.graphs.export"
LONGEST_S = 1800


def export(
    settings: Settings, looked: Looked, *, int8: bool
) -> tuple[ModelDefinition, Mapping[str, Any]]:
    """Write the graph of a model and its definition; returns that, and what was measured.

    A graph that computes the same is another form of the same version, and its definition names
    the folder; one of int8 computes something else, so it is a version of its own. Raises
    ConfigurationError and ModelMoraError.
    """
    given = looked.definition
    if looked.fault:
        raise ConfigurationError(f"{'@'.join(given.key)} cannot be served: {looked.fault}")
    if given.details.adapter:
        raise ConfigurationError(f"{'@'.join(given.key)} has an adapter; only a base is exported")
    version = f"{given.version}-int8" if int8 else given.version
    target = definition_path(settings, replace(given, version=version)).with_suffix(".onnx")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(mkdtemp(prefix=".export-", dir=target.parent))
    try:
        record = _run(given.task, Path(looked.path), aside / "model", int8=int8)
        if not int8 and record["cosine_min"] <= SAME:
            raise ModelMoraError(
                f"the graph computes something else (cosine {record['cosine_min']:.6f}, needed is "
                f"more than {SAME}); nothing was written"
            )
        shutil.rmtree(target, ignore_errors=True)
        (aside / "model").rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    definition = _int8(given, version, target, record) if int8 else _form(given, target)
    write_definition(settings, definition)
    return definition, record


def _form(given: ModelDefinition, target: Path) -> ModelDefinition:
    options = {**given.details.options, "onnx": str(target.absolute())}
    return replace(given, details=given.details.model_copy(update={"options": options}))


def _int8(
    given: ModelDefinition, version: str, target: Path, record: Mapping[str, Any]
) -> ModelDefinition:
    told = {"weights": "int8", "made_from": "@".join(given.key)}
    told |= {name: record[name] for name in ("cosine_min", "cosine_mean")}
    kept = given.details.model_copy(
        update={"metadata": {**given.details.metadata, **told}, "files": (), "revision": None}
    )
    source = str(target.absolute())
    return replace(given, version=version, source=source, active=False, details=kept)


def _run(task: str, source: Path, target: Path, *, int8: bool) -> dict[str, Any]:
    """The record of an export. Raises ModelMoraError."""
    command = [*interpreter(MODULE), task, str(source), str(target), *(["int8"] if int8 else [])]
    quiet = {"OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            env={**os.environ, **quiet},
        )
    except subprocess.TimeoutExpired:
        raise ModelMoraError(f"the export was not done after {LONGEST_S} s") from None
    try:
        told: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ModelMoraError(f"the export failed (exit {done.returncode}): {last[:200]}") from None
    if "fault" in told:
        raise ModelMoraError(str(told["fault"]))
    return told
