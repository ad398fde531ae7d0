"""Models and the registry: what is written, when, and when it is written again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.models.served import Models
from modelmora.engines import CATALOG, EngineEntry
from modelmora.kafka.sizes import OUTPUT_BYTES
from modelmora.messages import EventKind, Health, RegistryKind, RegistryRecord, State
from modelmora.records import key_of, record_of
from modelmora.records.routes import steps_in
from modelmora.registry.definitions import ModelDefinition, retold
from modelmora.routing import alone
from modelmora.scheduling import ModelSpec, Policy
from modelmora.serving import BrokerClock, Service
from modelmora.settings import ModelConfig, ModelDetails, Settings
from modelmora.testing.fakes import FakeOutcomes, FakeSender, FakeWorkers
from modelmora.wire import decode_event, decode_registry
from tests.facts import faults
from tests.unit.registry.models import make_model

OTHERS = {"all-minilm-l6-v2", "count", "crash", "echo", "hang", "oom", "sleep"}


class Desk:
    """The models of one node over one folder; its loop is that of the test."""

    def __init__(self, folder: Path, writer: str = "n1") -> None:
        self.folder = folder
        self.sender = FakeSender()
        settings = Settings(
            data_dir=folder, namespace="ns", testing=True, runtimes={"newer": Path("/newer/python")}
        )
        self.outcomes = FakeOutcomes()
        self.service = Service(self.outcomes, BrokerClock(), Policy(), 1000)
        self.service.use(FakeWorkers())
        lifecycle = Lifecycle(self.sender, writer, "ns")
        self.models = Models(settings, self.service, self.sender, lifecycle, writer)
        self.log: list[RegistryRecord] = []
        """The records of the registry, by offset."""
        self._read = 0

    def install(
        self,
        name: str,
        version: str = "1",
        *,
        task: str = "echo",
        source: str | None = None,
        more: str = "",
    ) -> Path:
        path = self.folder / "models" / name / f"{version}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        files = source or self.folder / "files"
        Path(files).mkdir(exist_ok=True)
        text = f"name: {name}\nversion: '{version}'\ntask: {task}\nsource: {files}\n{more}"
        path.write_text(text)
        return path

    def refresh(self) -> None:
        """Look, and serve what was found."""
        self.models.take(self.models.look())

    def written(self) -> list[RegistryRecord]:
        """The registry records since the last look; they come back as the broker gives them."""
        sent = [decode_registry(s.value) for s in self.sender.sent if s.topic == "ns.registry"]
        self.log += sent
        self.hear(*sent)
        return [record for record in sent if record.kind is RegistryKind.MODEL]

    def hear(self, *records: RegistryRecord) -> None:
        """The broker hands these over, next in the log."""
        for record in records:
            self.models.heard(key_of(record), record, self._read)
            self._read += 1

    def at(self, record: RegistryRecord) -> int:
        """The offset of a record."""
        return self.log.index(record)

    def turned(self, model: str) -> list[EventKind]:
        """What the service told of a model since the last look."""
        found = [kind for kind, (name, _), _ in self.outcomes.events if name == model]
        self.outcomes.events.clear()
        return found

    def told(self) -> list[tuple[EventKind, str | None]]:
        events = [decode_event(s.value) for s in self.sender.sent if s.topic == "ns.events"]
        assert [fault for event in events for fault in faults(event)] == []
        return [(event.kind, event.model) for event in events]

    def served(self) -> set[str]:
        return {name for name, _ in self.service.catalogue.specs}


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.install("first")
    made.refresh()
    return made


@pytest.mark.parametrize("slots", [0, -1, 257, "abc", 2.5, True])
async def test_slots_that_are_no_number_of_requests_are_told_before_a_load(
    desk: Desk, slots: object
) -> None:
    path = desk.install("many", task="count")
    path.write_text(path.read_text() + f"options: {{slots: {json.dumps(slots)}}}\n")
    desk.refresh()
    spec = desk.service.catalogue.specs["many", "1"]
    assert spec.fault == "its option `slots` must be an integer from 1 to 256"


@pytest.mark.parametrize("value", [-1, "abc", 1e99])
async def test_options_that_its_engine_does_not_take_are_told_before_a_load(
    desk: Desk, value: object
) -> None:
    path = desk.install("fast", task="txt2embed")
    path.write_text(path.read_text() + f"options: {{token_budget: {json.dumps(value)}}}\n")
    desk.refresh()
    fault = desk.service.catalogue.specs["fast", "1"].fault
    assert fault == "its option `token_budget` must be an integer from 1 to 1073741824"


@pytest.mark.parametrize(("told", "slots"), [("", 16), ("slots: null", 16), ("slots: 3", 3)])
async def test_an_engine_takes_as_many_requests_as_it_is_sent(
    desk: Desk, told: str, slots: int
) -> None:
    path = desk.install("many", task="count")
    path.write_text(path.read_text() + f"options: {{{told}}}\n")
    desk.refresh()
    spec = desk.service.catalogue.specs["many", "1"]
    assert (spec.fault, spec.slots, spec.options) == (None, slots, {"slots": slots})


async def test_each_model_is_written_once(desk: Desk) -> None:
    assert {record.name for record in desk.written()} == desk.served() == {*OTHERS, "first"}
    assert {kind for kind, _ in desk.told()} == {EventKind.REGISTERED}
    desk.sender.sent.clear()
    desk.refresh()
    assert desk.sender.sent == []


async def test_all_is_written_again_to_a_registry_that_was_made_anew(desk: Desk) -> None:
    desk.written()
    desk.sender.sent.clear()
    desk.models.tell_anew()
    desk.refresh()
    again = desk.written()
    assert {record.name for record in again} == {*OTHERS, "first"}
    assert {record.based_on for record in again} == {None}


async def test_a_new_version_is_added(desk: Desk) -> None:
    desk.written()
    desk.sender.sent.clear()
    desk.install("first", "2")
    desk.refresh()
    assert [(record.name, record.version) for record in desk.written()] == [("first", "2")]
    assert desk.told() == [(EventKind.VERSION_ADDED, "first")]
    assert desk.service.named("first") == (("first", "1"),), "it takes nothing over"


async def test_a_changed_model_is_written_again_over_its_record(desk: Desk) -> None:
    (first,) = [desk.at(record) for record in desk.written() if record.name == "first"]
    desk.sender.sent.clear()
    desk.install("first", task="sleep")
    desk.refresh()
    (record,) = desk.written()
    assert (record.task, record.based_on) == ("sleep", first)


async def test_a_removed_model_is_told_and_not_served(desk: Desk) -> None:
    desk.written()
    desk.sender.sent.clear()
    path = desk.install("second")
    desk.refresh()
    (told,) = desk.written()
    desk.sender.sent.clear()
    path.unlink()
    desk.refresh()
    (record,) = desk.written()
    assert (record.name, record.present, record.based_on) == ("second", False, desk.at(told))
    assert desk.told() == [(EventKind.UNREGISTERED, "second")]
    desk.refresh()
    assert "second" not in desk.served()


async def test_what_another_node_has_written_is_not_written_again(
    desk: Desk, tmp_path: Path
) -> None:
    other = Desk(tmp_path, "n2")
    desk.written()
    other.hear(*desk.log)
    other.refresh()
    assert other.sender.sent == []
    assert other.served() == desk.served()


async def test_another_nodes_model_is_not_withdrawn(tmp_path: Path) -> None:
    ours, theirs = Desk(tmp_path / "a"), Desk(tmp_path / "b", "n2")
    theirs.install("theirs")
    theirs.refresh()
    theirs.written()
    ours.hear(*theirs.log)
    ours.install("ours")
    ours.refresh()
    assert {record.name for record in ours.written() if not record.present} == set()


async def test_a_model_that_its_teller_withdraws_is_told_by_who_still_serves_it(
    desk: Desk, tmp_path: Path
) -> None:
    other = Desk(tmp_path, "n2")
    (told,) = [record for record in desk.written() if record.name == "first"]
    other.hear(*desk.log)
    other.refresh()
    withdrawn = replace(told, present=False, declaration=None, based_on=desk.at(told))
    other.hear(withdrawn)
    assert "first" in other.served(), "it never stops to serve it"
    other.refresh()
    (again,) = other.written()
    assert (again.name, again.present, again.writer) == ("first", True, "n2")
    assert again.based_on == len(desk.log)
    assert other.told() == [(EventKind.REGISTERED, "first")]
    other.refresh()
    assert len(other.sender.sent) == 2, "the record and its event"
    assert "first" in other.served()


async def test_a_wished_version_leaves_ids_from_before_to_who_has_answered_them(
    desk: Desk, tmp_path: Path
) -> None:
    config = ModelConfig(name="m", version="1", task="echo", source=str(tmp_path))
    desk.hear(record_of(config, "somebody"))
    desk.install("m", "2", more="active: true\n")
    desk.refresh()
    sent = [decode_registry(s.value) for s in desk.sender.sent if s.topic == "ns.registry"]
    (first,) = [r for r in sent if (r.kind, r.name) == (RegistryKind.ROUTE, "m")]
    (before, answering), (_, wished) = steps_in(first)
    assert (before, answering, wished) == (0, alone("1"), alone("2"))


async def test_a_broken_definition_hides_no_other(desk: Desk) -> None:
    desk.install("broken").write_text("name: [")
    desk.install("taskless", task="no-such-task")
    desk.refresh()
    health = {name: each.health for name, each in desk.service.standing().items()}
    well = {f"{name}@1" for name in (*OTHERS, "first")}
    assert health.keys() == well | {"broken@1", "taskless@1"}
    assert {health[name].state for name in well} == {State.COLD}
    assert health["taskless@1"] == Health(State.FAILED, "no engine serves the task no-such-task")
    assert "is not valid YAML" in (health["broken@1"].reason or "")
    assert "broken" not in {record.name for record in desk.written()}


async def test_files_that_break_and_are_mended_are_seen_without_a_new_definition(
    desk: Desk, tmp_path: Path
) -> None:
    weights = make_model(tmp_path / "m") / "model.safetensors"
    whole = weights.read_bytes()
    desk.install("m", task="txt2embed", source=str(weights.parent))
    desk.refresh()
    assert [each.max_inputs for each in desk.written() if each.name == "m"] == [
        (OUTPUT_BYTES - 4096) // 64
    ]
    desk.sender.sent.clear()
    for _ in range(2):
        weights.write_bytes(whole[:-1])
        desk.refresh()
        desk.refresh()
        assert desk.turned("m") == [EventKind.LOAD_FAILED], "once"
        health = desk.service.standing()["m@1"].health
        assert health.hopeless
        assert (health.reason or "").startswith("model.safetensors has")
        weights.write_bytes(whole)
        desk.refresh()
        assert desk.turned("m") == [EventKind.HEALTH_CHANGED]
        assert desk.service.standing()["m@1"].health == Health(State.COLD)
        assert desk.written() == [], "it is the same model all the time"


async def test_the_first_node_writes_anew_what_compaction_would_take(
    desk: Desk, tmp_path: Path
) -> None:
    (told,) = [record for record in desk.written() if record.name == "first"]
    other = Desk(tmp_path, "n2")
    other.hear(*desk.log)
    other.refresh()
    late = replace(told, source="/late", based_on=99, writer="n3")
    lease = RegistryRecord(RegistryKind.NODE, "", "", "", "", "", lease_ms=60_000)
    for each in (desk, other):
        each.sender.sent.clear()
        each.hear(late)
        each.refresh()
        assert each.written() == [], "who is to do it nobody knows yet"
        for name in ("n1", "n2"):
            node = replace(lease, name=name)
            each.models.declaring.leases.take(key_of(node), node, 1)
        each.refresh()
    (again,) = desk.written()
    assert (again.source, again.based_on) == (told.source, desk.at(told))
    assert not desk.models.state.buried
    assert other.written() == []
    desk.sender.sent.clear()
    desk.refresh()
    assert desk.sender.sent == []


async def test_a_record_of_a_stranger_names_no_code_and_no_place_of_this_node(desk: Desk) -> None:
    desk.written()
    files = str(desk.folder / "files")
    base = RegistryRecord(RegistryKind.MODEL, "code", "1", "echo", files, "stranger")
    onnx = json.dumps({"options": {"onnx": "/"}})
    desk.hear(replace(base, engine="http.server:test"), replace(base, name="place", details=onnx))
    desk.refresh()
    assert not {"code", "place"} & desk.served()
    assert "`engine` counts only" in desk.models.lacking["code@1"]
    assert "`options.onnx` counts only" in desk.models.lacking["place@1"]


async def test_what_is_changed_of_an_own_model_leaves_its_places_alone(desk: Desk) -> None:
    own = ModelDefinition("m", "1", "txt2embed", "/m", details=ModelDetails(options={"onnx": "/a"}))
    told = ModelDetails(options={"onnx": "/", "token_budget": 512}, keep_alive=60)
    made = retold(own, told).details
    assert (dict(made.options), made.keep_alive) == ({"onnx": "/a", "token_budget": 512}, 60)


async def test_a_runtime_that_there_is_not_is_the_models_fault(desk: Desk) -> None:
    desk.install("older", more="runtime: neweer\n")
    desk.refresh()
    assert desk.service.catalogue.specs["older", "1"].fault == (
        "its runtime `neweer` is none of this node's `runtimes` (newer); did you mean newer?"
    )


async def test_nothing_is_imported_for_a_model_with_a_runtime(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules: dict[str, tuple[str, ...]] = {}

    def serve(_: Service, served: list[tuple[ModelSpec, EngineEntry]], *_rest: object) -> None:
        modules.update({spec.name: entry.modules for spec, entry in served if not spec.fault})

    monkeypatch.setattr(Service, "serve", serve)
    files = str(make_model(desk.folder / "m"))
    desk.install("here", task="txt2embed", source=files)
    desk.install("elsewhere", task="txt2embed", source=files, more="runtime: newer\n")
    desk.refresh()
    assert {*modules["here"]} >= {*CATALOG["txt2embed"].modules}
    assert modules["elsewhere"] == ()


async def test_a_pin_keeps_what_a_newer_release_has_told(desk: Desk) -> None:
    (told,) = [record for record in desk.written() if record.name == "first"]
    newer = replace(told, details=json.dumps({"future": 1}), based_on=desk.at(told))
    desk.log.append(newer)
    desk.hear(newer)
    desk.sender.sent.clear()
    desk.models.declaring.change("first", "1", lambda _: None, pinned=True)
    (pinned,) = desk.written()
    assert json.loads(pinned.details) == {"future": 1, "pinned": True}


async def test_nodes_do_not_correct_each_others_limits_for_ever(desk: Desk, tmp_path: Path) -> None:
    desk.install("m", task="txt2embed", source=str(make_model(tmp_path / "m")))
    desk.refresh()
    (told,) = [record for record in desk.written() if record.name == "m"]
    desk.sender.sent.clear()
    others = replace(told, writer="n2", max_inputs=7, based_on=desk.at(told))
    desk.log.append(others)
    desk.hear(others)
    desk.refresh()
    assert [record.name for record in desk.written()] == []
