"""The workflows of GitHub: they are well formed, and run what is run here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])
def test_what_they_run_is_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    seen = 0
    for step in steps(path):
        words = step.get("run", "").split()
        if words[:1] == ["make"]:
            assert words[1] in targets
        for script in re.findall(r"\.ci/[a-z.]+", step.get("run", "")):
            assert (ROOT / script).is_file()
        seen += bool(words)
    assert seen


def test_each_names_the_version_of_what_it_uses() -> None:
    used = [step["uses"] for path in WORKFLOWS for step in steps(path) if "uses" in step]
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", each)] == []


def test_by_actionlint() -> None:
    lint = Path(sys.executable).with_name("actionlint")
    if not lint.exists():
        pytest.skip("no actionlint here: `make tools` builds it, with Go")
    done = subprocess.run([lint, *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
