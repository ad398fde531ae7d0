"""A stepped model on a real broker: requests join and leave, chunks continue, none is lost."""

from __future__ import annotations

import os
import signal

import pytest

from modelmora.cli import main
from modelmora.messages import Status
from tests.nodes import GatewayProcess
from tests.stations import Station


def test_requests_join_and_leave_and_their_chunks_are_the_result(station: Station) -> None:
    ids = [*station.send(8, words=60, ms=5), *station.send(8, words=20, ms=5)]
    answers = station.answers(ids)
    assert {answer.status for answer in answers} == {Status.COMPLETED}
    assert answers[0].outputs == (" ".join(map(str, range(60))) + " ",)
    assert answers[0].settings["words"] == 60, "what was used in fact"
    assert {len(station.reader.attempts[each]) > 1 for each in ids} == {True}
    quiet = station.send(progress=False)
    assert station.seen.answers(quiet)[0].status is Status.COMPLETED
    assert quiet[0] not in station.reader.texts


def test_a_cancel_midway_frees_the_slot(station: Station) -> None:
    endless = station.send(16, words=100_000, ms=5)
    station.shown(endless)
    waiting = station.send(words=3)
    for each in endless:
        station.cancel(each)
    assert station.answers(waiting)[0].status is Status.COMPLETED
    ends = station.seen.answers(endless)
    assert {answer.error.code.value for answer in ends if answer.error} == {"cancelled"}
    assert len(ends) == 16
    assert station.node.models()["count"]["state"] == "ready", "its child lives on"


@pytest.mark.row("F1")
def test_after_a_kill_the_text_continues_where_it_is_the_same(station: Station) -> None:
    ordered = station.send(3, words=600, ms=5)
    seeded = station.send(3, words=600, ms=5, seed=7)
    unseeded = station.send(3, words=600, ms=5, seed=-1)
    everyone = [*ordered, *seeded, *unseeded]
    station.shown(everyone)
    os.kill(station.child(), signal.SIGKILL)
    answers = station.answers(everyone)
    assert {(answer.status, answer.attempt) for answer in answers} == {(Status.COMPLETED, 2)}
    for each in everyone:
        numbers = station.reader.attempts[each]
        begins = [number for number in numbers if number[1] == 0]
        assert begins == ([(1, 0), (2, 0)] if each in unseeded else [(1, 0)])
        assert numbers[-1][0] == 2


@pytest.mark.row("F4")
def test_who_brings_the_child_down_is_found_among_the_others(station: Station) -> None:
    innocent = station.send(7, words=40, ms=2)
    guilty = station.send(words=10, marker="text", fault="crash")
    answers = station.answers([*innocent, *guilty])
    assert {answer.status for answer in answers[:-1]} == {Status.COMPLETED}
    assert answers[-1].error is not None
    assert answers[-1].error.code.value == "worker_crash"


def test_the_command_prints_as_it_comes(
    gateway: GatewayProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["infer", "count", "text", "--stream", "--param", "words=30", "--grpc"]
    code = main([*command, gateway.grpc])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert out == " ".join(map(str, range(30))) + " \n"
    assert "anew" not in err
