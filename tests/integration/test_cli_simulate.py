"""Traffic of a real cluster as a trace: what was asked and how it ended, never what was said."""

from __future__ import annotations

import json
from pathlib import Path

from modelmora.messages import DeviceKind, InferenceResult, Source, Status, Timings
from modelmora.records.measured import Measured, Taken, told
from modelmora.wire import encode_registry, encode_result
from tests.integration.cli_rig import SECRET, World, request


def test_what_was_asked_is_recorded_and_played(world: World) -> None:
    places = [world.write("requests.high", request(f"r{n}"), "m") for n in range(3)]
    world.write("requests.high", request("r0"), "m", {"modelmora-handed-on": b"1 0 0 5"})
    world.write("requests.low", b"no request", "m")
    world.write("requests.low", request("r9", "stranger"), "stranger")
    for number, place in enumerate(places[:2]):
        topic, partition, offset = place.split(":")
        result = InferenceResult(
            *(f"r{number}", Status.COMPLETED, "m", "1"),
            Source(topic, int(partition), int(offset)),
            timings=Timings(5, 10, 20 + number, 35 + number),
            outputs=(SECRET,),
        )
        world.write("results", encode_result(result), f"r{number}")
    measured = Measured("", {DeviceKind.CPU: Taken({0: (5000, 0)})}, 1500.0)
    world.write("registry", encode_registry(told(("m", "1"), "n", measured)), "MEASURED:m@1:n")

    world.run("traffic", "record", "t.jsonl", "--since", "5min")
    assert "3 requests of 1 model" in world.err
    assert "1 request left out: no outcome tells their model" in world.err
    text = Path("t.jsonl").read_text()
    assert SECRET not in text
    head, *lines = map(json.loads, text.splitlines())
    assert head["models"]["m@1"]["load_s"] == 1.5
    assert head["models"]["m@1"]["bytes"] == 5000
    assert [line["units"] for line in lines] == [0.02, 0.021, 0.0205]
    assert {line["lane"] for line in lines} == {"high"}

    (outlook,) = world.json("simulate", "t.jsonl", "--memory", "10k")
    assert (outlook["answered"], outlook["loads"]) == (3, 1)
    assert 0 < outlook["mean"] < 1.6
    world.run("traffic", "record", "t.jsonl", "--since", "2999-01-01", code=2)
    world.run("traffic", "record", "t.jsonl", "--since", "soon", code=2)
