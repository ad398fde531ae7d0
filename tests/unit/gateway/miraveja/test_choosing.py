"""Which model answers, as the registry has it; and what a label says."""

from __future__ import annotations

import json

import pytest

from modelmora.errors import Code
from modelmora.gateway.choosing import Suit, address_of, choose, default_of
from modelmora.gateway.doors.miraveja.ratings import rating_of
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.settings import Rating
from tests.unit.gateway.fakes import LoopedRegistry

TEXT, EYES = Suit("txt2txt"), Suit("txt2txt", eyes=True)
SEES = json.dumps({"metadata": {"reads_images": True}})


@pytest.fixture
def registry() -> LoopedRegistry:
    registry = LoopedRegistry()
    for name, details in (("a", ""), ("b", SEES), ("c", SEES)):
        registry.register(name, "txt2txt", details=details)
    registry.register("words", "txt2embed")
    return registry


def chosen(registry: LoopedRegistry, *suits: Suit, named: str = "") -> str:
    return address_of(choose(registry.registrar.state, suits, named))


def test_the_first_that_suits_answers(registry: LoopedRegistry) -> None:
    assert chosen(registry, TEXT) == "a@1"
    assert chosen(registry, EYES) == "b@1"
    assert chosen(registry, Suit("img2txt"), EYES) == "b@1"
    assert chosen(registry, EYES, Suit("txt2embed")) == "b@1"
    with pytest.raises(Refusal) as caught:
        chosen(registry, Suit("img2txt"), Suit("classify"))
    assert caught.value.code == Code.UNKNOWN_MODEL
    assert default_of(registry.registrar.state, Suit("img2txt")) is None


def test_the_default_of_a_task_comes_first(registry: LoopedRegistry) -> None:
    registry.write(RegistryRecord(RegistryKind.DEFAULT, "c", "", "txt2txt", "", "tests"))
    assert chosen(registry, TEXT) == chosen(registry, EYES) == "c@1"


def test_a_name_means_its_active_version(registry: LoopedRegistry) -> None:
    registry.write(RegistryRecord(RegistryKind.MODEL, "a", "2", "txt2txt", "t", "tests"))
    assert chosen(registry, TEXT, named="a") == "a@1"
    assert chosen(registry, TEXT, named="a@2") == "a@2"
    for unknown in ("a@3", "d", "@", "a@"):
        with pytest.raises(Refusal) as caught:
            chosen(registry, TEXT, named=unknown)
        assert caught.value.code == Code.UNKNOWN_MODEL
    with pytest.raises(Refusal, match="txt2txt that reads images") as caught:
        chosen(registry, EYES, named="a")
    assert caught.value.code == Code.INVALID_INPUT


def test_labels_are_known_however_they_are_written() -> None:
    assert rating_of(" PG-13 ", {}) is Rating.PG_13
    assert rating_of("Porn", {"PORN": Rating.XXX}) is Rating.XXX
    assert rating_of("fish", {}) is None
