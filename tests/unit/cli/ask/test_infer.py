"""`infer` asks the gateway and prints its answer, or says why there is none."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from modelmora.cli.ask.infer import lines_of, read_parameter, shortened
from modelmora.cli.ask.portions import PORTION_BYTES, PORTION_INPUTS, joined
from modelmora.errors import ConfigurationError
from tests.unit.cli.runs import Cli, door, pretend_running

ANSWER = {
    "request_id": "id-1",
    "model": "m",
    "version": "1",
    "outputs": [{"name": "embedding", "dtype": "FP32", "shape": [1, 8], "data": [[0.5] * 8]}],
    "timings": {"queue_ms": 0.0, "load_ms": 1500.0, "inference_ms": 12.5, "total_ms": 1512.5},
}
MODELS = {"models": [{"name": "m", "version": "1", "max_inputs": None}]}


def test_it_sends_what_was_given_and_shortens_vectors_for_people(cli: Cli, tmp_path: Path) -> None:
    with door({"/infer/m": (200, ANSWER), "/models": (200, MODELS)}) as gateway:
        pretend_running(tmp_path / ".modelmora", http=gateway.url)
        ran = cli(
            *("infer", "m", "one", "two", "--param", "truncate=true", "--param", "x=1.5"),
            *("--priority", "high", "--timeout", "2.5", "--header", "x-cohort=a=b"),
        )
    assert ran.code == 0
    assert [each["x-cohort"] for each in gateway.headers] == [None, "a=b"]
    assert gateway.asked == [
        ("/models", None),
        (
            "/infer/m",
            {
                "inputs": ["one", "two"],
                "parameters": {"truncate": True, "x": 1.5},
                "priority": "high",
                "timeout_ms": 2500,
            },
        ),
    ]
    assert ran.out.splitlines()[0] == "embedding FP32 [1, 8]"
    assert ran.out.endswith("+0.5000 +0.5000 … (8)\n")
    assert ran.err == (
        f"gateway at {gateway.url}\nm@1  load 1.5 s, inference 12 ms, total 1.5 s  id id-1\n"
    )


def test_json_is_the_answer_as_it_came(cli: Cli) -> None:
    with door({"/infer/m": (200, ANSWER), "/models": (200, MODELS)}) as gateway:
        assert cli("infer", "m", "text", "--url", gateway.url, "--json").json == ANSWER


def test_lines_of_standard_input_are_inputs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["m", "-"], ["m"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO("first\r\n\nsecond\x85\u2028\n\n"))
        with door({"/infer/m": (200, ANSWER), "/models": (200, MODELS)}) as gateway:
            assert cli("infer", *arguments, "--url", gateway.url).code == 0
        assert gateway.asked[1][1]["inputs"] == ["first", "", "second\x85\u2028", ""]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert cli("infer", "m", "-").code == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"good\nb\xff"), "utf-8"))
    ran = cli("infer", "m", "-")
    assert (ran.code, ran.err[:45]) == (2, "modelmora: standard input is not UTF-8 text (")


def test_many_inputs_are_several_requests_and_one_answer(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [str(number) for number in range(PORTION_INPUTS)] + ["x" * PORTION_BYTES, "last"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    with door({"/infer/m": (200, ANSWER), "/models": (200, MODELS)}) as gateway:
        ran = cli("infer", "m", "--url", gateway.url, "--json")
    asked = [body["inputs"] for _, body in gateway.asked[1:]]
    assert [text for portion in asked for text in portion] == lines
    assert [len(portion) for portion in asked] == [PORTION_INPUTS, 1, 1]
    (output,) = ran.json["outputs"]
    assert (output["shape"], len(output["data"])) == ([3, 8], 3)
    assert ran.json["request_ids"] == ["id-1"] * 3
    assert ran.json["timings"]["load_ms"] == 4500


def test_what_is_spoken_to_is_said_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n" * (PORTION_INPUTS + 1)))
    with door({"/infer/m": (200, ANSWER), "/models": (200, MODELS)}) as gateway:
        pretend_running(Path(".modelmora"), http=gateway.url)
        assert cli("infer", "m", "-").err.count(f"gateway at {gateway.url}\n") == 1
    assert len(gateway.asked) == 3


def test_a_model_may_allow_fewer_inputs(cli: Cli) -> None:
    told = [("m", "1", 3), ("m", "2", 2), ("other", "1", 1)]
    names = ("name", "version", "max_inputs")
    models = {"models": [dict(zip(names, each, strict=True)) for each in told]}
    answers = dict.fromkeys(("/infer/m", "/infer/m@1"), (200, ANSWER))
    for model, sizes in (("m", [2, 2]), ("m@1", [3, 1])):
        with door({**answers, "/models": (200, models)}) as gateway:
            assert cli("infer", model, *"abcd", "--url", gateway.url).code == 0
        assert [len(body["inputs"]) for _, body in gateway.asked[1:]] == sizes


def test_a_query_and_its_documents_stay_together(cli: Cli) -> None:
    texts = [f"text {n}" for n in range(PORTION_INPUTS + 9)]
    models = {"models": [{**MODELS["models"][0], "task": "rerank"}]}
    with door({"/infer/m": (200, ANSWER), "/models": (200, models)}) as gateway:
        assert cli("infer", "m", *texts, "--url", gateway.url).code == 0
    assert [body["inputs"] for _, body in gateway.asked[1:]] == [texts]


def test_answers_of_several_tensors_are_joined_each_with_its_kind() -> None:
    def part(score: float, label: str) -> dict[str, Any]:
        scores = {"name": "scores", "dtype": "FP32", "shape": [1, 1], "data": [[score]]}
        labels = {"name": "labels", "dtype": "BYTES", "shape": [1, 1], "data": [[label]]}
        return ANSWER | {"outputs": [scores, labels]}

    scores, labels = joined([part(0.5, "a"), part(0.25, "b")])["outputs"]
    assert (scores["shape"], scores["data"]) == ([2, 1], [[0.5], [0.25]])
    assert (labels["shape"], labels["data"]) == ([2, 1], [["a"], ["b"]])


def test_a_model_must_be_named(cli: Cli) -> None:
    ran = cli("infer", "", "text", "--url", "http://127.0.0.1:1")
    assert (ran.code, ran.err) == (
        2,
        "modelmora: no model is named; `modelmora list` shows them\n",
    )


def test_outputs_of_several_kinds_are_not_laid_together() -> None:
    def answer(*outputs: Any) -> dict[str, Any]:
        return {"request_id": "r", "model": "m", "version": "1", "outputs": list(outputs)}

    def tensor(*shape: int) -> dict[str, Any]:
        return {"name": "t", "dtype": "FP32", "shape": list(shape), "data": [0.0] * shape[0]}

    told = joined([answer("a", tensor(1, 2)), answer(tensor(2, 2)), answer(tensor(1, 3), "b")])
    shapes = [output if isinstance(output, str) else output["shape"] for output in told["outputs"]]
    assert shapes == ["a", [3, 2], [1, 3], "b"]


@pytest.mark.parametrize(
    ("status", "problem", "code", "told"),
    [
        (404, {"code": "unknown_model", "detail": "m is not served"}, 3, "m is not served"),
        (400, {"code": "invalid_input", "detail": "too long"}, 1, "invalid_input: too long"),
        (503, {"code": "busy", "detail": "full"}, 1, "busy: full"),
        (503, {"code": "broker_unreachable", "detail": "no broker"}, 4, "no broker"),
        (502, ["no problem+json"], 4, "502"),
    ],
)
def test_a_refusal_is_one_line_and_its_exit_code(
    cli: Cli, status: int, problem: Any, code: int, told: str
) -> None:
    with door({"/infer/m": (status, problem)}) as gateway:
        ran = cli("infer", "m", "text", "--url", gateway.url)
    assert ran.code == code
    assert told in ran.err
    assert (ran.out, ran.err.count("\n")) == ("", 1)


def test_a_gateway_that_is_gone_is_exit_code_4(cli: Cli) -> None:
    with door({}) as gateway:
        gone = gateway.url
    ran = cli("infer", "m", "text", "--url", gone)
    assert ran.code == 4
    assert "cannot be reached" in ran.err


@pytest.mark.parametrize("given", ["novalue", "=x", ""])
def test_a_parameter_must_be_key_and_value(given: str) -> None:
    with pytest.raises(ConfigurationError, match="KEY=VALUE"):
        read_parameter(given)


@pytest.mark.parametrize("given", ["x-cohort", "=beta", "authorization=x", "x-cohort=\u00e4"])
def test_a_header_must_be_one_at_which_a_route_looks(cli: Cli, given: str) -> None:
    ran = cli("infer", "m", "text", "--header", given)
    assert (ran.code, ran.err.startswith("modelmora: --header ")) == (2, True)


def test_a_time_limit_of_nothing_is_refused(cli: Cli) -> None:
    assert cli("infer", "m", "text", "--url", "http://127.0.0.1:1", "--timeout", "0").code == 2


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("false", False),
        ("null", None),
        ("text", "text"),
        ("a=b", "a=b"),
        ('["a","b"]', ["a", "b"]),
        ('"1"', "1"),
        ('{"a":1}', '{"a":1}'),
        ("NaN", "NaN"),
        ("", ""),
    ],
)
def test_the_value_of_a_parameter_is_json_where_it_can_be(given: str, value: object) -> None:
    assert read_parameter(f"key={given}") == ("key", value)


def test_outputs_for_people() -> None:
    assert lines_of("text") == ["text"]
    assert lines_of({"bytes": "AAAA"}) == ["3 bytes; --json shows them"]
    assert lines_of({"role": "user", "content": "ü"}) == ['{"role": "user", "content": "ü"}']
    flat = {"name": "n", "dtype": "INT64", "shape": [2], "data": [1, 2]}
    assert lines_of(flat) == ["n INT64 [2]", "  1 2"]
    assert shortened([0.123456] * 6) == " ".join(["+0.1235"] * 6)
