"""What a record tells of a model, whoever wrote it."""

from __future__ import annotations

import json
from typing import Self

import pytest
from pydantic import model_validator

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import details_of, telling
from modelmora.settings import ModelDetails


def _record(**told: object) -> RegistryRecord:
    return RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w", details=json.dumps(told))


def test_a_value_that_cannot_be_read_counts_as_not_told() -> None:
    told = _record(keep_alive="long", pinned=True, replicas={"min": 2, "max": 1}, newer=3)
    assert details_of(told) == ModelDetails(pinned=True)


def test_values_that_cannot_stand_together_count_as_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = 0

    class Stricter(ModelDetails):
        @model_validator(mode="after")
        def _fits(self) -> Self:
            nonlocal tries
            tries += 1
            if tries > 3:
                raise RuntimeError("it is tried for ever")
            if self.pinned:
                raise ValueError("as a whole it is wrong")
            return self

    monkeypatch.setattr(telling, "ModelDetails", Stricter)
    assert details_of(_record(pinned=True)) == Stricter()
