"""The gateway stays light: no model code, no Faust in its process."""

from __future__ import annotations

import subprocess
import sys

FOREIGN = (
    "faust",
    "torch",
    "transformers",
    "numpy",
    "modelmora.agents",
    "modelmora.engines",
    "modelmora.serving",
    "modelmora.workers",
)


def test_the_gateway_loads_no_model_code() -> None:
    program = "import sys, modelmora.gateway.app, modelmora.gateway.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "modelmora.gateway.bridge" in loaded
    assert not set(FOREIGN) & set(loaded)
