"""What docs/reference/protocol.md says of the model is so: its actions, its mends, and the code."""

from __future__ import annotations

import re
from pathlib import Path

from tests.protocol.mutations import MUTATIONS
from tests.protocol.test_model import MENDS
from tests.protocol.tlc import MODEL

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/protocol.md").read_text()


def test_every_action_of_the_model_has_its_code() -> None:
    nexts = MODEL.read_text().partition("Next ==")[2].partition("Spec ==")[0]
    actions = set(re.findall(r"\b[A-Z]\w+\b(?=\(|\s*\n)", nexts)) - {"Nodes", "Len"}
    rows = PAGE.partition("## Actions")[2].partition("## What is found")[0]
    told = set(re.findall(r"`([A-Z]\w+)`", rows))
    assert actions <= told, actions - told


def test_the_code_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py):(\w+)`", PAGE)
    assert len(named) > 20
    missing = [each for each in named if f"def {each[1]}(" not in (ROOT / each[0]).read_text()]
    assert missing == []


def test_every_mend_and_every_mutation_is_told() -> None:
    found = PAGE.partition("## What is found")[2]
    assert {each for each in (*MENDS, *MUTATIONS) if f"`{each}`" not in found} == set()
