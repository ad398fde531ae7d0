"""Memory is read as the system reports it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from modelmora.resources import (
    available_memory,
    cores,
    memory_of,
    peak_memory,
    private_memory,
    summed_pss,
)

MIB = 1 << 20


def test_a_process_with_a_known_size_is_seen() -> None:
    code = "x = b'x' * (64 << 20); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = memory_of(process.pid)
        both = summed_pss([process.pid, os.getpid()])
        process.kill()
    assert 64 * MIB <= memory.private <= memory.pss
    assert memory.pss < 128 * MIB
    assert both > memory.pss
    assert private_memory(process.pid) == 0, "it has ended"


def test_a_peak_is_seen_once_after_it_has_passed() -> None:
    code = "input(); x = b'x' * (64 << 20); del x; print('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = peak_memory(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        first, second = peak_memory(process.pid), peak_memory(process.pid)
        process.kill()
    assert first >= before + 60 * MIB
    assert second < before + 32 * MIB


def test_cores_are_those_this_process_may_use() -> None:
    assert cores() == len(psutil.Process().cpu_affinity())


def cgroup(folder: Path, limit: str, usage: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\n")


def test_the_tightest_cgroup_limits_what_is_available(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/pod/box\n")
    cgroup(root / "pod", str(40 * MIB), 20 * MIB, 5 * MIB)
    cgroup(root / "pod" / "box", "max", 10 * MIB, 0)
    assert available_memory(proc, root) == 25 * MIB
    cgroup(root / "pod" / "box", str(12 * MIB), 10 * MIB, 1 * MIB)
    assert available_memory(proc, root) == 3 * MIB


def test_version_1_of_cgroups_and_none_at_all(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("4:memory:/box\n0::/\n")
    folder = root / "memory" / "box"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(str(9 * MIB))
    (folder / "memory.usage_in_bytes").write_text(str(4 * MIB))
    (folder / "memory.stat").write_text(f"total_inactive_file {MIB}\n")
    assert available_memory(proc, root) == 6 * MIB
    assert available_memory(tmp_path / "none", root) > 6 * MIB
