"""A model of this node in whose place the registry has another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelmora.messages import Health, RegistryRecord, State
from modelmora.records.facts import facts_of
from modelmora.records.verbs import register, retire
from modelmora.settings import ModelConfig
from tests.unit.agents.test_models import Desk
from tests.unit.registry.models import make_model


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.install("first")
    made.refresh()
    return made


def replaced(desk: Desk, source: str) -> RegistryRecord:
    """A caller retires `first`, which this node has, and registers it from elsewhere."""
    retired = retire(desk.models.state, "first", "1")
    desk.hear(retired)
    config = ModelConfig(name="first", version="1", task="echo", source=source)
    made = register(desk.models.state, config, "gateway")
    assert made
    desk.hear(made)
    desk.refresh()
    return made


async def test_what_a_caller_registers_in_the_place_of_an_own_model_counts(
    desk: Desk, tmp_path: Path
) -> None:
    desk.written()
    desk.sender.sent.clear()
    replaced(desk, "hf:org/other")
    health = desk.service.standing()["first@1"].health
    assert health.state is State.FAILED
    assert str(health.reason).startswith(
        f"it is registered from hf:org/other, and this node has it from {desk.folder / 'files'}: "
    )
    assert desk.written() == [], "nobody tells it otherwise"

    again = Desk(tmp_path)
    again.hear(*(each.record for each in desk.models.state.entries.values()))
    again.refresh()
    assert again.written() == [], "nor does the node that was started anew"
    assert again.service.standing()["first@1"].health.state is State.FAILED

    path = desk.install("first")
    path.write_text(path.read_text() + "# installed again\n")
    desk.refresh()
    (told,) = desk.written()
    assert (told.name, told.source) == ("first", str(desk.folder / "files"))
    desk.refresh()
    assert desk.service.standing()["first@1"].health == Health(State.COLD)


async def test_an_installation_made_again_waits_for_what_is_under_way(desk: Desk) -> None:
    desk.written()
    replaced(desk, "hf:org/other")
    desk.sender.sent.clear()
    desk.models.declaring.change("first", "1", lambda _: None, pinned=True)
    path = desk.install("first")
    path.write_text(path.read_text() + "# installed again\n")
    desk.refresh()
    (pinned,) = desk.written()
    assert pinned.source == "hf:org/other", "one record of a key at a time"
    desk.sender.sent.clear()
    desk.refresh()
    (told,) = desk.written()
    assert (told.name, told.source) == ("first", str(desk.folder / "files"))


async def test_a_model_is_served_from_the_source_that_is_registered_where_that_is_here(
    desk: Desk,
) -> None:
    desk.written()
    desk.sender.sent.clear()
    other = desk.folder / "others"
    other.mkdir()
    replaced(desk, str(other))
    spec = desk.service.catalogue.specs["first", "1"]
    assert (spec.fault, spec.path) == (None, str(other))


async def test_of_two_nodes_sources_that_mean_the_same_everywhere_one_counts(
    desk: Desk, tmp_path: Path
) -> None:
    desk.install("m", source=None)
    path = desk.folder / "models" / "m" / "1.yaml"
    path.write_text("name: m\nversion: '1'\ntask: echo\nsource: hf:org/one\n")
    desk.refresh()
    (own,) = [record for record in desk.written() if record.name == "m"]
    theirs = replace(own, source="hf:org/two", writer="n2", declaration="theirs")
    desk.hear(replace(theirs, based_on=desk.at(own)))
    desk.refresh()
    reason = str(desk.service.standing()["m@1"].health.reason)
    assert "registered from hf:org/two, and this node has it from hf:org/one" in reason


async def test_what_files_tell_stands_in_the_record(desk: Desk, tmp_path: Path) -> None:
    desk.install("m", task="txt2embed", source=str(make_model(tmp_path / "m")))
    desk.refresh()
    (record,) = [each for each in desk.written() if each.name == "m"]
    assert facts_of(record)["dimension"] == 16
    desk.refresh()
    desk.sender.sent.clear()
    config = ModelConfig(name="by-caller", task="txt2embed", source=str(tmp_path / "m"))
    made = register(desk.models.state, config, "gateway")
    assert made
    desk.hear(made)
    desk.log += [made] * (desk._read - len(desk.log))
    desk.refresh()
    (record,) = [each for each in desk.written() if each.name == "by-caller"]
    assert facts_of(record)["dimension"] == 16, "told by a node that has the files"
    assert record.max_inputs
