"""`infer --stream` prints each text once as it comes, and says where it begins anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.cli.ask.streaming import Shown
from modelmora.client import Accepted, Started, Step, Text
from modelmora.client.values import Piece
from modelmora.gateway.caller import said
from modelmora.messages import ProgressEvent, ProgressStage
from tests.unit.cli.runs import Cli
from tests.unit.client.doubles import Gateway


@pytest.mark.parametrize(
    ("pieces", "printed", "text", "said"),
    [
        ([Text("ab"), Text("c\n")], "abc\n", "abc\n", ""),
        ([Text("ab"), Text("xy", anew=True), Text("z")], "ab\nxyz\n", "xyz", "begins anew"),
        ([Accepted(1), Started()], "", "", ""),
        ([Step(3, 9)], "", "", "3 of 9"),
    ],
)
def test_what_is_shown(
    pieces: list[Piece],
    printed: str,
    text: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written: list[str] = []
    shown = Shown(written.append)
    for each in pieces:
        shown.take(each)
    shown.end()
    assert ("".join(written), shown.text) == (printed, text)
    assert said in capsys.readouterr().err


def test_a_text_is_printed_once_and_what_is_none_in_the_end(cli: Cli, tmp_path: Path) -> None:
    with Gateway() as gateway:
        gateway.hall.outputs = ("Paris.",)
        chunk = ProgressStage.CHUNK
        gateway.hall.events = (ProgressEvent("r", chunk, "echo@1", chunk=b"Par"),)
        ran = cli(
            "infer", "echo", "Where?", "--stream", "--grpc", gateway.address, "--param", "n=1"
        )
        assert (ran.code, ran.out) == (0, "Paris.\n")
        assert "echo@1  queue 1.0 ms, load" in ran.err
        assert gateway.hall.asks[0].parameters == {"n": 1}
        told = ("--header", "X-Cohort=a=b", "--header", "x-bin=c")
        cli("infer", "echo", "Where?", "--stream", "--grpc", gateway.address, *told)
        headers = gateway.hall.asks[1].headers
        assert (said(headers, "x-cohort"), said(headers, "x-bin")) == ("a=b", "c")
        gateway.hall.outputs = (b"x" * 30,)
        gateway.hall.events = ()
        ran = cli("infer", "echo", "Where?", "--stream", "--grpc", gateway.address)
        assert ran.out == "30 bytes; --json shows them\n"
        ran = cli("infer", "none", "Where?", "--stream", "--grpc", gateway.address)
        assert (ran.code, ran.err) == (3, "modelmora: no such model\n")
    ran = cli("infer", "echo", "Where?", "--stream")
    assert (ran.code, "--grpc HOST:PORT" in ran.err) == (4, True)
    ran = cli("infer", "echo", "Where?", "--grpc", "localhost:1")
    assert (ran.code, "--stream" in ran.err) == (2, True)
