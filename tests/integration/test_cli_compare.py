"""`modelmora compare` on a real broker: what a shadow left, and what was asked before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmora.errors import Code, Undecodable
from modelmora.kafka.reading.shown import Reader
from modelmora.messages import (
    DeviceKind,
    ErrorInfo,
    InferenceRequest,
    InferenceResult,
    RegistryKind,
    RegistryRecord,
    Source,
    Status,
    Timings,
)
from modelmora.messages.headers import COMPARISON, HANDED_ON, LIVE, PRINCIPAL, SHADOW_OF
from modelmora.records.measured import Measured, Taken, told
from modelmora.trials import past, running
from modelmora.trials.copies import copy_of
from modelmora.trials.past import Past
from modelmora.trials.running import Replay
from modelmora.wire import decode_request, encode_registry, encode_request, encode_result
from modelmora.wire.ids import shadow_id
from tests.integration.cli_rig import SECRET, World
from tests.integration.test_cli_nodes import tell

SOURCE = Source("t", 0, 0)
Answers = Callable[[InferenceRequest], InferenceResult]


def model(world: World, version: str, name: str = "m") -> None:
    known = RegistryRecord(RegistryKind.MODEL, name, version, "echo", "builtin:echo", "somebody")
    world.write("registry", encode_registry(known), f"MODEL:{name}@{version}")


def result(request_id: str, version: str, text: str = SECRET, **more: Any) -> InferenceResult:
    given: dict[str, Any] = {"status": Status.COMPLETED, "outputs": (text,), **more}
    timings = Timings(inference_ms=10.0 * int(version))
    return InferenceResult(
        request_id, model="m", version=version, source=SOURCE, timings=timings, **given
    )


def ask(
    world: World, request_id: str, name: str = "m", headers: Mapping[str, bytes] | None = None
) -> None:
    value = encode_request(InferenceRequest(request_id, name, (SECRET, request_id)))
    world.write("requests.normal", value, name.partition("@")[0], headers)


def left(world: World, original: str, outcome: InferenceResult, comparison: str = LIVE) -> None:
    """An outcome of a copy, as nodes write it."""
    copied = replace(outcome, request_id=shadow_id(original, outcome.version or "2"))
    headers = {SHADOW_OF: original.encode(), COMPARISON: comparison.encode()}
    world.write("compare", encode_result(copied), original, headers)


@pytest.fixture
def town(world: World) -> World:
    """Two versions that a node serves, of which the first answers."""
    for version in "12":
        model(world, version)
    route = RegistryRecord(RegistryKind.ROUTE, "m", "1", "", "", "somebody")
    world.write("registry", encode_registry(route), "ROUTE:m@")
    measured = Measured("", {DeviceKind.CPU: Taken({0: (5_000_000, 0)})}, 1500.0)
    world.write("registry", encode_registry(told(("m", "2"), "n", measured)), "MEASURED:m@2:n")
    tell(world, "node-a", serves={"m@1": "echo", "m@2": "echo"}, partitions=(0, 1, 2))
    return world


@contextmanager
def answering(world: World, answers: Answers) -> Iterator[list[tuple[str, str | None]]]:
    """A stand-in for nodes: answers copies on `compare`; gives (model, principal) of each."""
    came: list[tuple[str, str | None]] = []
    done = threading.Event()

    def run() -> None:
        with Reader(world.settings) as reader:
            places = reader.places(f"{world.namespace}.shadow")
            for record in reader.follow(reader.since(places, None)):
                if done.is_set():
                    return
                if record is None:
                    continue
                request = decode_request(record.plain)
                came.append((request.model, record.header(PRINCIPAL)))
                headers = {name: value or b"" for name, value in record.headers}
                told = {name: headers[name] for name in (SHADOW_OF, COMPARISON)}
                outcome = replace(answers(request), request_id=request.request_id)
                world.write("compare", encode_result(outcome), record.header(SHADOW_OF), told)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield came
    finally:
        done.set()
        thread.join()


def echo(request: InferenceRequest) -> InferenceResult:
    """Version 2 shortens what it is asked for r1, and fails for r2."""
    version, text = request.model.partition("@")[2], str(request.inputs[1])
    if version == "2" and text == "r1":
        return result("", "2", text[:1])
    if version == "2" and text == "r2":
        error = ErrorInfo(Code.WORKER_CRASH, "it died")
        return result("", "2", status=Status.FAILED, error=error, outputs=())
    return result("", version, text)


def test_what_a_live_shadow_left_is_compared_with_what_callers_got(town: World) -> None:
    for number in range(4):
        town.write("results", encode_result(result(f"r{number}", "1")), f"r{number}")
        left(town, f"r{number}", result("", "2", SECRET[: number * 4] or "x"))
    # None of these is a pair of the two: another version, another comparison, nobody's answer.
    town.write("results", encode_result(result("r4", "2")), "r4")
    left(town, "r4", result("", "2"))
    left(town, "r0", result("", "2"), "another")
    left(town, "r5", result("", "3"))
    left(town, "r6", result("", "2"))
    town.write("compare", b"no result", "r7", {SHADOW_OF: b"r7", COMPARISON: b"live"})

    told = town.json("compare", "m@2", "--html", "page.html")
    assert (told["baseline"]["model"], told["candidate"]["model"]) == ("m@1", "m@2")
    assert (told["comparison"], told["task"], told["pairs"]) == ("live", "echo", 4)
    assert told["left_out"] == {"the baseline's outcome is not kept": 2}
    assert [each["request_id"] for each in told["worst"]] == ["r0", "r1", "r2", "r3"]
    assert told["candidate"]["memory_bytes"] == 5_000_000
    assert told["device_ms_ratio"] is None
    page = Path("page.html").read_text()
    assert SECRET not in page
    assert "m@2 against m@1" in page

    town.run("compare", "m@2", "--html", "/dev/full", code=2)
    assert "--html /dev/full is not written: No space left" in town.err

    lines = town.run("compare", "m@2", "--sample", "2").splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["MEASURE", "PAIRS", "MEAN", "MEDIAN", "95", "%", "WORST"]
    assert lines[1].split()[:2] == ["agreement", "2"]
    assert "m@2 against m@1: 2 pairs of a live shadow" in town.err
    assert "device times of m@1 are those of its callers' batches" in town.err
    # The other way round nothing was copied.
    town.run("compare", "m@1", "--against", "m@2", code=3)
    assert "no shadow of m@1 has left an outcome" in town.err


def test_what_was_asked_before_is_asked_of_both(town: World) -> None:
    for number in range(4):
        ask(town, f"r{number}")
    ask(town, "r4", "m@1")
    ask(town, "r0", headers={HANDED_ON: b"1 0 0 5"})
    ask(town, "r5", "other")
    town.write("requests.low", b"no request", "m")
    # This one the baseline has answered already, and this one it refused.
    town.write("results", encode_result(result("r3", "1", "r3")), "r3")
    busy = result("r4", "1", status=Status.REFUSED, error=ErrorInfo(Code.BUSY, "."), outputs=())
    town.write("results", encode_result(busy), "r4")

    with answering(town, echo) as came:
        told = town.json("compare", "m@2", "--since", "5min", "--wait", "60")
    assert sorted(came) == [("m@1", "local")] * 4 + [("m@2", "local")] * 5
    assert told["pairs"] == 5
    assert told["sample"] == 1000
    assert told["left_out"] == {}
    assert told["unlike"] == {"worker_crash": 1}
    assert [each["request_id"] for each in told["worst"][:2]] == ["r2", "r1"]
    assert told["measures"]["same"]["mean"] == 0.75
    assert told["candidate"]["ended"] == {"completed": 4, "worker_crash": 1}
    # Of the four that both completed three are copies on both sides.
    assert told["baseline"]["device_ms"]["pairs"] == 3
    assert told["device_ms_ratio"] == {"p50": 2, "p95": 2}
    assert f"9 copies of 5 requests: comparison {told['comparison']}" in town.err
    # It can be looked at again, and who did it is told.
    again = town.json("compare", "m@2", "--comparison", told["comparison"])
    assert (again["pairs"], again["unlike"]) == (5, told["unlike"])
    (audit,) = town.json("audit", "list", "--verb", "compare")
    assert "5 requests" in audit["reason"]


def test_of_many_a_sample_is_asked_the_same_each_time(town: World) -> None:
    for number in range(30):
        ask(town, f"r{number}")
    with answering(town, echo) as came:
        first = town.json("compare", "m@2", "--since", "5min", "--sample", "8", "--wait", "60")
        again = town.json(
            *("compare", "m@2", "--since", "5min", "--sample", "8", "--wait", "60", "--fresh")
        )
    assert len(came) == 32
    assert first["pairs"] == again["pairs"] == 8
    ids = [{each["request_id"] for each in told["worst"]} for told in (first, again)]
    assert ids[0] == ids[1]
    assert first["comparison"] != again["comparison"]


def test_what_does_not_come_is_told(town: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        ask(town, f"r{number}")
    told = town.json("compare", "m@2", "--since", "5min", "--wait", "0", code=1)
    assert (told["pairs"], told["left_out"]) == (0, {"no outcome has come": 3})
    assert len(town.records("shadow")) == 6

    def broken(past: Past, *more: Any) -> Any:
        if past.request_id == "r1":
            raise Undecodable(Code.UNDECODABLE, "it is cut")
        return copy_of(past, *more)

    with monkeypatch.context() as patch, answering(town, echo):
        patch.setattr(running, "copy_of", broken)
        told = town.json("compare", "m@2", "--since", "5min", "--wait", "60")
    assert (told["pairs"], told["left_out"]) == (2, {"cannot be asked again": 1})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Replay, "wait", interrupted)
    told = town.json("compare", "m@2", "--since", "5min", code=130)
    assert told["left_out"] == {"no outcome has come": 3}
    assert f"modelmora compare m@2 --comparison {told['comparison']}" in town.err
    # Requests that are too large together are fewer, and that is said.
    monkeypatch.setattr(past, "MOST_BYTES", 60)
    told = town.json("compare", "m@2", "--since", "5min", code=130)
    assert told["left_out"] == {"no outcome has come": 1}
    assert "more than 1 request would be too large" in town.err


def test_who_may_not_ask_is_told_what_lacks(town: World) -> None:
    ask(town, "r0")

    def forbids(request: InferenceRequest) -> InferenceResult:
        error = ErrorInfo(Code.FORBIDDEN, "no")
        version = request.model.partition("@")[2]
        return result("", version, status=Status.REFUSED, error=error, outputs=())

    with answering(town, forbids):
        out = town.run("compare", "m@2", "--since", "5min", "--wait", "60", code=1)
    assert "MEASURE" not in out
    assert "left out 1: baseline forbidden" in town.err
    assert "needs the right to infer in lane low" in town.err


def test_of_a_version_that_is_gone_what_it_answered_is_enough(world: World) -> None:
    for version in "12":
        model(world, version)
    tell(world, "node-a", serves={"m@2": "echo"})
    for number in range(3):
        ask(world, f"r{number}")
    world.run("compare", "m@2", "--against", "m@1", "--since", "5min", code=1)
    assert "no node that runs serves m@1" in world.err
    world.write("results", encode_result(result("r0", "1", "r0")), "r0")
    with answering(world, echo) as came:
        told = world.json(
            *("compare", "m@2", "--against", "m@1", "--since", "5min", "--wait", "60")
        )
    assert came == [("m@2", "local")] * 3
    assert (told["pairs"], told["left_out"]) == (1, {"the baseline's outcome is not kept": 2})


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (("m",), 2, "m names no version; it is NAME@VERSION"),
    (("m@",), 2, "m@ names no version"),
    (("m@9",), 3, "there is no model m@9; of m there is 1, 2"),
    (("nothing@9",), 3, "there is no model nothing@9; see `modelmora list`"),
    (("m@1",), 2, "m@1 answers for m; name another with --against m@VERSION"),
    (("m@2", "--against", "other@1"), 2, "must be a version of m"),
    (("m@2", "--against", "m@2"), 2, "is the version that is compared"),
    (("m@2",), 3, "no shadow of m@2 has left an outcome"),
    (("m@2", "--comparison", "x"), 3, "no outcome of m@2 in comparison x"),
    (("m@2", "--since", "5min"), 3, "nothing was asked of m from"),
    (("m@2", "--since", "soon"), 2, "--since soon must be a span"),
    (("m@2", "--since", "1h", "--until", "2h"), 2, "--since 1h must be before 2h"),
    (("m@2", "--html", "no/such/page.html"), 2, "there is no folder no/such"),
    (("m@2", "--comparison", ""), 2, "--comparison needs the id"),
    (("m@2", "--comparison", "x", "--sample", "5"), 2, "leave --sample out"),
    (("m@2", "--fresh"), 2, "are for --since"),
    (("m@2", "--since", "1h", "--comparison", "x"), 2, "take either"),
    (("m@2", "--since", "1h", "--wait", "-1"), 2, "--wait must be 0"),
    (("m@2", "--since", "1h", "--wait", "nan"), 2, "--wait must be 0"),
]


def test_what_cannot_be_is_said_in_one_line(town: World) -> None:
    for arguments, code, said in WRONG:
        town.run("compare", *arguments, code=code)
        assert said in town.err
    assert town.records("shadow") == []


def test_without_a_node_nothing_is_asked(world: World) -> None:
    for version in "12":
        model(world, version)
    ask(world, "r0")
    world.run("compare", "m@2", "--against", "m@1", "--since", "5min", code=1)
    assert "no node runs, so m@2 cannot be asked" in world.err
    tell(world, "node-a", serves={"m@1": "echo"}, failed={"m@2": "its files are broken"})
    world.run("compare", "m@2", "--against", "m@1", "--since", "5min", code=1)
    assert "no node that runs serves m@2: its files are broken" in world.err
    assert world.records("shadow") == []
