"""What docs/howto/python.md says runs, against the gateway's door before a hall that is none."""

from __future__ import annotations

import io
import re
import struct
from contextlib import redirect_stdout
from pathlib import Path

import PIL.Image
import pytest

from modelmora.messages import ProgressEvent, ProgressStage, Tensor
from modelmora.wire.tensors import framed
from tests.unit.client.doubles import Gateway

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/howto/python.md").read_text()
PROGRAMS = dict(
    re.findall(r'^```python title="(\w+)\.py"\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
)
TOLD = {
    "ask": """(2, 2) float32
Paris.
Paris.
[Ranked(index=1, score=0.75)]
Label(label='good', score=0.75)
(3, 2)
smollm2 1 ('Paris.',) {'finish_reason': 'stop'}
""",
    "stream": "Paris.\n1 of 4\nTrue 1\n",
    "jobs": "True queued\ncompleted\n('Paris.',)\n['completed']\ncompleted\n",
    "together": "2\nStep\nText\nText\nAnswer\n",
    "models": "['echo']\n['ready']\n[('n1', 'ready')]\n",
    "errors": "unknown_model False\n",
}


def floats(name: str, shape: tuple[int, ...], *numbers: float) -> Tensor:
    return Tensor(name, "FP32", shape, struct.pack(f"<{len(numbers)}f", *numbers))


@pytest.fixture
def address(one: Gateway) -> str:
    image = io.BytesIO()
    PIL.Image.new("RGB", (3, 2)).save(image, "PNG")
    words = framed(b"good") + framed(b"bad")
    one.hall.answers = {
        "all-minilm-l6-v2": (floats("embedding", (2, 2), 1, 2, 3, 4),),
        "smollm2": ("Paris.",),
        "reranker": (floats("scores", (2,), 0.25, 0.75),),
        "mood": (
            floats("scores", (1, 2), 0.75, 0.25),
            Tensor("labels", "BYTES", (1, 2), words),
        ),
        "sdxl": (image.getvalue(),),
    }
    one.hall.settings = {"finish_reason": "stop"}
    stage = ProgressStage.CHUNK
    one.hall.events = (
        ProgressEvent("r", stage, "m@1", step=1, steps=4),
        ProgressEvent("r", stage, "m@1", chunk=b"Par"),
    )
    return one.address


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str, address: str) -> None:
    program = PROGRAMS[name].replace("localhost:9090", address)
    with redirect_stdout(io.StringIO()) as told:
        exec(program, {})
    assert told.getvalue() == TOLD[name]
