"""Hostile bytes: a decoder answers or raises Undecodable, and does neither hang nor crash."""

from __future__ import annotations

import secrets
import subprocess
import sys

import pytest

FEW, MANY = 50_000, 400_000
pytestmark = pytest.mark.no_cover


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.unit.wire.hostile", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.row("F18")
@pytest.mark.parametrize("mutations", [FEW, pytest.param(MANY, marks=pytest.mark.faults)])
def test_mutations_raise_only_undecodable(mutations: int) -> None:
    done = _run(secrets.token_hex(8), str(mutations))
    assert done.returncode == 0, done.stderr


@pytest.mark.row("F18", "F19")
def test_bombs_neither_hang_nor_crash() -> None:
    done = _run("bombs")
    assert done.returncode == 0, done.stderr
