"""What a child begins with: each node's zygote, and so every child, holds it."""

from __future__ import annotations

import subprocess
import sys

UNWANTED = {"modelmora.settings", "modelmora.workers.supervisor", "pydantic", "yaml"}
"""What only the node needs: half of the start, and 18 MB."""


def test_a_child_reads_no_settings() -> None:
    program = "import sys, modelmora.workers.child.zygote; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert not UNWANTED & {*done.stdout.decode().split()}
