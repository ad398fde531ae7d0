"""Kafka's classes as a JVM of this machine has linked them, once: a start costs half the CPU time.

A JVM can write them into a file when it ends (JEP 514), and later ones begin from that; a file of
another JDK or other jars is ignored by them. It is made here, of jars whose sums were checked, so
there is nothing to pin; without it a start is slower and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from modelmora.broker.jars import cache_folder, locked
from modelmora.errors import ModelMoraError


def linked_file(java: Path, class_path: str, cache: Path | None = None) -> Path:
    """Where the classes of this class path belong, linked by the JDK of this `java`."""
    with contextlib.suppress(OSError):
        class_path += (java.parents[1] / "release").read_text()
    key = hashlib.sha256(class_path.encode()).hexdigest()[:16]
    return (cache or cache_folder()) / "linked" / f"kafka-{key}.aot"


def ensure_linked(file: Path, train: Callable[[Path], None]) -> None:
    """Have `file` made by `train`, which gets a path to write to; where it fails, there is none.

    Several processes may call this at once: one makes it, the others wait.
    """
    with contextlib.suppress(ModelMoraError, OSError), locked(file.parent):
        if not file.exists():
            with tempfile.TemporaryDirectory(prefix=".training-", dir=file.parent) as aside:
                train(Path(aside) / file.name)
                (Path(aside) / file.name).replace(file)
