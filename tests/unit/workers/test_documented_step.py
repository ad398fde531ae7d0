"""The stepped engine of the documentation, as it stands on its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from modelmora.messages import InferenceRequest
from modelmora.wire import encode_request
from modelmora.workers.child.stepping import SteppedRuns
from modelmora.workers.protocol import Run, RunItem
from tests.unit.workers.test_stepping import Desk, output

PAGE = (Path(__file__).parents[3] / "docs/howto/engine.md").read_text()


def test_the_documented_engine_spells() -> None:
    (code,) = re.findall(r'title="spell/engine.py"\n(.*?)```', PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    engine = names["Spell"]()
    engine.load(Path(), {"slots": 2})
    desk = Desk()
    runs = SteppedRuns(engine, desk)
    for number, text in enumerate(("one", "two", "three")):
        request = InferenceRequest(text, "m", (text,), progress=True)
        runs.take(Run(number, 1, {}, (RunItem(text),), (encode_request(request),)))
    desk.cancelled.add(1)
    while runs.busy:
        runs.turn()
    assert (desk.ends[0], desk.ends[2]) == (output("one"), output("three"))
    assert (desk.text(2), desk.settings[2]) == ("three", {"letters": 5})
    assert engine.left == {}
