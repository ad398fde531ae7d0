"""What the checks of a machine conclude from what they find there."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from modelmora.diagnostics import checks
from modelmora.diagnostics.finding import State
from modelmora.settings import Settings


def test_an_extra_is_wrong_only_where_the_role_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    states = {f.check: f.state for f in checks.extras(Settings())}
    assert set(states.values()) == {State.WRONG}
    states = {f.check: f.state for f in checks.extras(Settings(role="gateway"))}
    assert set(states.values()) == {State.NOTE}
    cluster = Settings(bootstrap_servers="h:1")
    states = {f.check: f.state for f in checks.extras(cluster)}
    assert states["extra broker"] is State.NOTE
    (fix, *_) = [f.fix for f in checks.extras(cluster) if f.state is State.WRONG]
    assert fix == "pip install 'modelmora[node]'"


def test_a_data_folder_that_is_a_file_or_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    finding = checks.folder(Settings(data_dir=tmp_path / "file" / "below"))
    assert (finding.state, "--data-dir" in finding.fix) == (State.WRONG, True)
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    finding = checks.folder(Settings(data_dir=tmp_path))
    assert (finding.state, finding.fix) == (State.WRONG, "free some space")


def test_a_cache_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refused)
    finding = checks.jars(Settings())
    assert finding.state is State.WRONG
    assert finding.found.endswith(": Permission denied")
