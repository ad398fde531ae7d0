"""Where requests go that name no version, or no model."""

from __future__ import annotations

import pytest

from modelmora.registry.definitions import ModelDefinition
from modelmora.registry.routing import routes


def model(name: str, version: str, task: str = "t", *, default: bool = True) -> ModelDefinition:
    return ModelDefinition(name, version, task, "/m", default=default)


@pytest.mark.parametrize(
    ("versions", "meant"),
    [
        ({"1": True}, "1"),
        ({"1": True, "2": True, "10": True}, "10"),
        ({"1": True, "2": False}, "1"),
        ({"1": True, "2": True, "3": False}, "2"),
        ({"1": False, "2": False}, "2"),
        ({"1.9": True, "1.10": True}, "1.10"),
    ],
)
def test_a_name_means_its_newest_version_that_may_answer(
    versions: dict[str, bool], meant: str
) -> None:
    models = [model("m", version, default=default) for version, default in versions.items()]
    assert routes(models).names == routes(models[::-1]).names == {"m": ("m", meant)}
    assert routes(models).tasks == {"t": ("m", meant)}


def test_a_task_means_its_first_model_by_name() -> None:
    models = [model("b", "1"), model("c", "1", "other"), model("a", "2"), model("a", "1")]
    assert routes(models).tasks == {"t": ("a", "2"), "other": ("c", "1")}


def test_a_definition_that_cannot_be_read_is_meant_by_nobody() -> None:
    found = routes([model("m", "1"), model("m", "2", ""), model("x", "1", "")])
    assert found.names == {"m": ("m", "1")}
    assert found.tasks == {"t": ("m", "1")}
