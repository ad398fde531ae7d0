"""Plain JSON in and out of the topics, with nothing of ours but the broker's address."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.cli import main
from modelmora.messages import Status
from tests.checker.reading import arrived
from tests.stations import Station


class Shell:
    """Who has a producer and a consumer, and no schema."""

    def __init__(self, station: Station) -> None:
        self._station = station
        servers = {"bootstrap.servers": station.servers, "log_level": 0}
        self._producer = Producer(servers)
        self._consumer = Consumer(servers | {"group.id": "shell", "enable.auto.commit": False})
        topic = f"{station.namespace}.results.json"
        partitions = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        self.told: list[dict[str, Any]] = []

    def send(self, value: str, model: str | None = "echo", **headers: str) -> None:
        topic = f"{self._station.namespace}.requests.normal"
        named = [(name.replace("_", "-"), text) for name, text in headers.items()]
        self._producer.produce(topic, value, model, headers=named)
        assert self._producer.flush(60) == 0

    def answer(self, **wanted: Any) -> dict[str, Any]:
        """The first outcome that has these fields."""

        def found() -> list[dict[str, Any]]:
            fields = wanted.items()
            return [each for each in self.told if all(each[k] == v for k, v in fields)]

        def look() -> bool:
            for message in arrived(self._consumer, 0.2):
                self.told.append(json.loads(message.value()))
            return bool(found())

        self._station.seen.until(look, "an outcome in JSON")
        return found()[0]

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def shell(station: Station) -> Iterator[Shell]:
    shell = Shell(station)
    yield shell
    shell.close()


def test_a_line_is_enough(station: Station, shell: Shell) -> None:
    shell.send('{"inputs": ["Hello", {"bytes": "AP8="}], "request_id": "line"}')
    told = shell.answer(request_id="line")
    assert (told["status"], told["outputs"]) == ("COMPLETED", ["Hello", {"bytes": "AP8="}])
    (whole,) = station.seen.answers(["line"])
    assert whole.outputs == ("Hello", b"\x00\xff"), "and in Avro like every other"


def test_one_without_an_id_is_known_by_its_place(station: Station, shell: Shell) -> None:
    shell.send(' {"inputs": "nameless"}', content_type="application/json")
    told = shell.answer(outputs=["nameless"])
    assert told["source"]["topic"] == f"{station.namespace}.requests.normal"
    (whole,) = station.seen.answers([told["request_id"]])
    assert (whole.source.partition, whole.source.offset) == (
        told["source"]["partition"],
        told["source"]["offset"],
    )


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ('{"inputs": "x", "request_id": "b1", "priority": "low"}', "REFUSED", "invalid_input"),
        ('{"inputs": "x", "request_id": "b2", "model": "none"}', "REFUSED", "unknown_model"),
        ('{"inputs": "x", "request_id": "b3"', "REFUSED", "invalid_input"),
    ],
)
def test_what_is_wrong_is_said_in_json(
    value: str, status: str, code: str, shell: Shell, station: Station
) -> None:
    named = value.endswith("}")
    shell.send(value, modelmora_request_id="b3")
    request_id = json.loads(value)["request_id"] if named else "b3"
    told = shell.answer(request_id=request_id)
    assert (told["status"], told["error"]["code"]) == (status, code)
    (whole,) = station.seen.answers([request_id])
    assert whole.status is Status(status)


def test_a_replayed_letter_is_the_same_request(
    station: Station, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.send('{"inputs": "late"}', "later")
    told = shell.answer(status="REFUSED", model="later")
    where = ["--bootstrap-servers", station.servers, "--namespace", station.namespace]
    assert main(["dlq", "list", "--json", *where]) == 0
    letters = json.loads(capsys.readouterr().out)
    (ours,) = [each for each in letters if each["request_id"] == told["request_id"]]
    assert main(["dlq", "replay", ours["place"], *where]) == 0, capsys.readouterr().err
    again = shell.answer(request_id=told["request_id"], run=2)
    assert again["error"]["code"] == "unknown_model"
    assert main(["trace", told["request_id"], *where]) == 0
    assert "for later" in capsys.readouterr().out


def test_a_shell_produces_and_reads_outcomes(
    station: Station, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ["--bootstrap-servers", station.servers, "--namespace", station.namespace]
    asked = tmp_path / "asked.jsonl"
    asked.write_text('first\n{"inputs": ["a", {"bytes": "AP8="}], "request_id": "given"}\n\n')
    assert main(["produce", "echo", str(asked), *where]) == 0
    told = capsys.readouterr()
    first, given = told.out.splitlines()
    assert (given, told.err.splitlines()[-1]) == ("given", "2 requests written")
    assert main(["results", "-f", "--id", first, "--id", "given", "--json", *where]) == 0
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    outputs = {each["request_id"]: each["outputs"] for each in lines}
    assert outputs == {first: ["first"], "given": ["a", {"bytes": "AP8="}]}
    assert main(["results", "--id", first, "--id", "nobody", *where]) == 3
    told = capsys.readouterr()
    assert re.match(rf"{first}  COMPLETED  echo@1  .*\n  first\n$", told.out)
    assert "no outcome of 1 request is there (nobody); -f waits for it" in told.err
    asked.write_text('late\n{"inputs": "x", "model": "none"}\n')
    assert main(["produce", "echo", str(asked), "--wait", *where]) == 1
    told = capsys.readouterr()
    assert "  unknown_model: " in told.out
    assert told.err.splitlines()[-1] == "1 of 2 requests did not complete"
    asked.write_text('fine\n{"inputs": []}\nnever\n')
    assert main(["produce", "echo", str(asked), *where]) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    *_, written, why = told.err.splitlines()
    assert written == "1 request written"
    assert why == "modelmora: line 2: inputs: has one element at least"


def test_a_killed_process_leaves_one_outcome_each(station: Station, shell: Shell) -> None:
    for number in range(20):
        shell.send(
            json.dumps({"inputs": "x", "request_id": f"k{number}", "parameters": {"ms": 50}}),
            "sleep",
        )
    shell.answer(request_id="k0")
    os.kill(station.child("sleep"), signal.SIGKILL)
    for number in range(20):
        shell.answer(request_id=f"k{number}")
    ids = [each["request_id"] for each in shell.told if each["request_id"].startswith("k")]
    assert len(ids) == len(set(ids)) == 20
