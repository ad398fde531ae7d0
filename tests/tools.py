"""Tools that tests use where they were built: they are no part of the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def tools() -> Path:
    """Where those of Go are built."""
    above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return above / "modelmora" / "tools"


def built(name: str) -> Path:
    """What was built under this name; skips where nothing was."""
    found = sorted(tools().glob(f"{name}-[0-9]*"))
    if not found:
        made_by = "make k8s-check" if name in ("kube-apiserver", "etcd", "crds") else "make tools"
        pytest.skip(f"no {name} here: `{made_by}` builds it, with Go")
    return found[-1]
