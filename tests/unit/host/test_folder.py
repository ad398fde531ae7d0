"""The data folder: one owner, no leftovers, a lasting member id."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmora.errors import ConfigurationError
from modelmora.host.folder import DataFolder, Started, boot_id, kill_leftover, start_ticks
from tests.programs import ROOT, eventually

HOLDER = """
import sys
from pathlib import Path
from modelmora.host.folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
folder.open()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def leftover() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def started(process: subprocess.Popen[bytes]) -> Started:
    ticks = start_ticks(process.pid)
    assert ticks is not None
    return Started("node", process.pid, boot_id(), ticks)


@pytest.mark.row("F17")
def test_one_owner_at_a_time_and_who_it_is(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(ConfigurationError, match=f"in use by process {holder.pid};") as caught:
            DataFolder(tmp_path).open()
        assert caught.value.exit_code == 2
        holder.kill()
    # The lock ends with the process, however it ends.
    folder = DataFolder(tmp_path)
    folder.open()
    folder.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written: Not a directory") as caught:
        DataFolder(tmp_path / "file" / "data").open()
    assert "\n" not in str(caught.value)


@pytest.mark.row("F17")
def test_leftovers_of_a_killed_owner_are_reaped(
    tmp_path: Path, leftover: subprocess.Popen[bytes]
) -> None:
    owner = DataFolder(tmp_path)
    owner.open()
    owner.record("node", leftover.pid)
    # As after kill -9 of the owner: the lock is gone, the record is there.
    owner._lock.release()
    later = DataFolder(tmp_path)
    later.open()
    assert leftover.wait(30) == -9
    (row,) = json.loads((tmp_path / "host.json").read_text())
    assert (row["name"], row["pid"]) == ("serve", os.getpid())
    later.close()
    assert not (tmp_path / "host.json").exists()


def test_a_copy_leaves_the_processes_of_its_original_alone(
    tmp_path: Path, leftover: subprocess.Popen[bytes]
) -> None:
    with subprocess.Popen(["sleep", "600"]) as owner:
        rows = [dataclasses.replace(started(owner), name="serve"), started(leftover)]
        (tmp_path / "host.json").write_text(json.dumps([dataclasses.asdict(row) for row in rows]))
        shutil.copytree(tmp_path, tmp_path / "copy")
        copy, original = DataFolder(tmp_path / "copy"), DataFolder(tmp_path)
        copy.open()
        assert leftover.poll() is None
        owner.kill()
        eventually(lambda: start_ticks(owner.pid) is None, "the owner has ended")
        # Nobody has waited for it yet; its processes are leftovers all the same.
        original.open()
    assert leftover.wait(30) == -9
    copy.close()
    original.close()


@pytest.mark.parametrize("change", [{"ticks": 1}, {"boot": "another boot"}])
def test_someone_elses_process_is_left_alone(
    change: dict[str, str | int], leftover: subprocess.Popen[bytes]
) -> None:
    recorded = started(leftover)
    other = dataclasses.replace(recorded, **change)  # type: ignore[arg-type]
    assert kill_leftover(other) is False
    assert leftover.poll() is None
    assert kill_leftover(recorded) is True
    assert leftover.wait(30) == -9
    assert kill_leftover(recorded) is False


@pytest.mark.parametrize("text", ["", "nonsense", '[{"pid": 1}]', "7"])
def test_an_unreadable_record_is_no_hindrance(tmp_path: Path, text: str) -> None:
    (tmp_path / "host.json").write_text(text)
    folder = DataFolder(tmp_path)
    folder.open()
    folder.close()


def test_start_ticks_of_a_name_with_brackets(tmp_path: Path) -> None:
    program = tmp_path / "a) b (c"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "600"]) as process:
        seen = eventually(
            lambda: "a) b" in Path(f"/proc/{process.pid}/stat").read_text(), "the program runs"
        )
        assert seen
        ticks = start_ticks(process.pid)
        process.kill()
    ours = start_ticks(os.getpid())
    assert ticks is not None
    assert ours is not None
    assert ticks > ours


def test_member_id_is_made_once(tmp_path: Path) -> None:
    first = DataFolder(tmp_path).member_id()
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,200}", first)
    assert DataFolder(tmp_path).member_id() == first
    (tmp_path / "other").mkdir()
    assert DataFolder(tmp_path / "other").member_id() != first


def test_a_copy_is_another_member_and_a_moved_folder_the_same(tmp_path: Path) -> None:
    ours, copied, moved = (tmp_path / name for name in ("ours", "copied", "moved"))
    ours.mkdir()
    first = DataFolder(ours).member_id()
    shutil.copytree(ours, copied)
    second = DataFolder(copied).member_id()
    assert second != first
    assert DataFolder(copied).member_id() == second
    ours.rename(moved)
    assert DataFolder(moved).member_id() == first


def test_the_member_id_of_an_older_version_is_kept(tmp_path: Path) -> None:
    (tmp_path / "member_id").write_text("node-1\n")
    assert DataFolder(tmp_path).member_id() == "node-1"
