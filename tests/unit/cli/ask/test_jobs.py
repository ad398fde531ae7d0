"""Jobs from the shell, against a door that answers as it is told."""

from __future__ import annotations

import pytest

from tests.unit.cli.runs import Cli, door

JOB = {
    "request_id": "a b",
    "model": "m",
    "version": "1",
    "state": "processing",
    "position": 2,
    "estimate_ms": 1500.0,
    "step": 1,
    "steps": 4,
    "submitted_at": 1_000,
    "ended_at": None,
    "held_until": None,
    "error": None,
}
ENDED = JOB | {
    "state": "failed",
    "position": None,
    "estimate_ms": None,
    "steps": None,
    "ended_at": 2_000,
    "error": {"code": "worker_crash", "message": "it died\x1b[2J"},
}
ANSWER = {"request_id": "a b", "model": "m", "version": "1", "outputs": ["text"], "timings": {}}


def test_a_job_is_submitted_and_its_id_is_all_that_is_printed(cli: Cli) -> None:
    with door({"/infer/m@1/async": (202, JOB)}) as gateway:
        ran = cli("jobs", "submit", "m@1", "x", "--param", "n=1", "--url", gateway.url)
        assert (ran.code, ran.out) == (0, "a b\n")
        assert cli("jobs", "submit", "m@1", "x", "--json", "--url", gateway.url).json == JOB
    body = {"parameters": {"n": 1}, "priority": "normal", "inputs": ["x"]}
    assert gateway.asked[0] == ("/infer/m@1/async", body)


def test_a_job_is_shown_with_what_is_known_of_it(cli: Cli) -> None:
    answers = {"/jobs/a%20b?wait_s=0": (200, JOB), "/jobs/a%20b?wait_s=2.5": (200, ENDED)}
    with door(answers) as gateway:
        ran = cli("jobs", "show", "a b", "--url", gateway.url)
        first, ahead, starts, step, submitted = ran.out.splitlines()
        assert (first, ahead, step) == ("a b  processing  m@1", "  2 ahead of it", "  step 1 of 4")
        assert starts == "  starts in about 1.5 s"
        assert submitted.startswith("  submitted 01-01 ")
        ran = cli("jobs", "show", "a b", "--wait", "2.5", "--url", gateway.url)
        assert ran.out.splitlines()[-1] == "  worker_crash: it died\\x1b[2J"
        assert cli("jobs", "show", "a b", "--json", "--url", gateway.url).json == JOB


def test_its_result_and_its_end(cli: Cli) -> None:
    answers = {"/jobs/a%20b/result": (200, ANSWER), "/jobs/a%20b": (202, JOB)}
    with door(answers) as gateway:
        ran = cli("jobs", "result", "a b", "--url", gateway.url)
        assert (ran.out, ran.err) == ("text\n", "m@1    id a b\n")
        ran = cli("jobs", "cancel", "a b", "--url", gateway.url)
        assert (ran.code, ran.err) == (0, "a b  processing\n")


@pytest.mark.parametrize("verb", ["show", "result", "cancel"])
def test_what_is_no_job_of_ours(cli: Cli, verb: str) -> None:
    refused = {"code": "not_found", "detail": "there is no job x of yours"}
    answers = dict.fromkeys(("/jobs/x", "/jobs/x?wait_s=0", "/jobs/x/result"), (404, refused))
    with door(answers) as gateway:
        ran = cli("jobs", verb, "x", "--url", gateway.url)
    assert (ran.code, ran.err) == (3, "modelmora: not_found: there is no job x of yours\n")
