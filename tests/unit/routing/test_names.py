"""Where requests go that name no version, or no model."""

from __future__ import annotations

import pytest

from modelmora.registry.definitions import ModelDefinition
from modelmora.routing import routes, wished


def model(name: str, version: str, task: str = "t", *, active: bool = False) -> ModelDefinition:
    return ModelDefinition(name, version, task, "/m", active=active)


@pytest.mark.parametrize(
    ("versions", "active", "meant"),
    [
        (["1"], None, "1"),
        (["1", "2", "10"], None, "1"),
        (["2", "10"], None, "2"),
        (["1.9", "1.10"], None, "1.9"),
        (["1", "2"], "2", "2"),
        (["1", "2"], "3", "3"),
    ],
)
def test_a_name_means_its_active_version_or_its_lowest(
    versions: list[str], active: str | None, meant: str
) -> None:
    models = [model("m", version) for version in versions]
    chosen = {"m": active} if active else {}
    for order in (models, models[::-1]):
        assert routes(order, chosen).names == {"m": ("m", meant)}
    told = {} if meant not in versions else {"t": ("m", meant)}
    assert routes(models, chosen).tasks == told, "one that is elsewhere is no task of ours"


def test_a_task_means_the_name_that_was_chosen_or_its_first() -> None:
    models = [model("b", "1"), model("c", "1", "other"), model("a", "2"), model("a", "1")]
    assert routes(models).tasks == {"t": ("a", "1"), "other": ("c", "1")}
    assert routes(models, {"a": "2"}).tasks["t"] == ("a", "2")
    assert routes(models, {}, {"t": "b"}).tasks["t"] == ("b", "1")
    assert routes(models, {}, {"t": "gone"}).tasks["t"] == ("a", "1")


def test_a_definition_that_cannot_be_read_is_meant_by_nobody() -> None:
    found = routes([model("m", "2"), model("m", "1", ""), model("x", "1", "")])
    assert found.names == {"m": ("m", "2")}
    assert found.tasks == {"t": ("m", "2")}


def test_of_several_that_wish_to_be_active_the_highest_is() -> None:
    models = [model("m", "10", active=True), model("m", "9", active=True), model("n", "1")]
    assert wished(models) == wished(models[::-1]) == {"m": "10"}
