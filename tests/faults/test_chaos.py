"""What chaos decides and tells; a run of it is `make chaos`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread

import pytest

from tests.checker import Verdict, Violation
from tests.faults.callers import Callers
from tests.faults.chaos.plan import Plan, soak
from tests.faults.chaos.report import Report
from tests.faults.chaos.run import run
from tests.faults.chaos.steady import ENDS, Held, kept, look
from tests.faults.chaos.strikes import KINDS, SOAK
from tests.faults.chaos.watch import Seen
from tests.faults.recording import Figures

COUNTS = dict.fromkeys(
    ("requests", "outcomes", "told", "lost", "contradicting", "repeated", "violations"), 0
)


def order(seed: int, count: int) -> list[tuple[float, str, float]]:
    """Gaps, names, and what each strike would draw first."""
    strikes = islice(Plan(seed).strikes(), count)
    return [(gap, strike.name, strike.chance.random()) for gap, strike in strikes]


def test_a_seed_decides_what_comes_when() -> None:
    assert order(7, 60) == order(7, 60)
    assert order(7, 60) != order(8, 60)


def test_each_kind_comes_before_any_comes_again() -> None:
    names = [name for _, name, _ in order(7, 2 * len(KINDS))]
    assert Counter(names[: len(KINDS)]) == Counter(kind.name for kind in KINDS)
    assert set(Counter(names).values()) == {2}


def test_the_soak_has_its_rows() -> None:
    rows = {row for kind in SOAK for row in kind.rows}
    assert rows >= {"F1", "F2", "F4", "F6", "F7", "F8", "F9", "F12", "F14", "F18", "F28"}


def held(kb: int, fds: int = 20, threads: int = 9, count: int = 30) -> list[Held]:
    kinds = Counter({"rdk:main": threads, "socket": fds})
    return [Held(float(at), kb, fds, threads, kinds) for at in range(count)]


@pytest.mark.parametrize(
    ("last", "flat"),
    [
        (held(50_000), True),
        (held(56_000), True),
        (held(60_000), False),
        (held(50_000, fds=25), False),
        (held(50_000, threads=12), False),
        # One that falls back has not grown.
        (held(50_000, 40, 20, ENDS - 1) + held(50_000, count=1), True),
    ],
)
def test_least_is_compared_with_least(last: list[Held], flat: bool) -> None:
    found = kept(held(50_000, count=50) + last)
    assert found is not None
    assert found.is_flat is flat


def test_what_is_open_for_children_is_not_counted() -> None:
    before = look(os.getpid())
    child = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE)
    handle = os.pidfd_open(child.pid)
    try:
        after = look(os.getpid())
    finally:
        os.close(handle)
        child.kill()
        child.communicate()
    assert before
    assert after
    assert after.kinds["anon_inode:[pidfd]"] == before.kinds["anon_inode:[pidfd]"] + 1
    assert after.fds == before.fds


def test_a_few_samples_say_nothing() -> None:
    assert kept(held(50_000, count=2 * ENDS - 1)) is None


def test_recovery_is_the_first_and_the_last_of_what_was_written_after() -> None:
    seen = Seen("node killed", 1.0, over=10.0, waits={"a", "b"})
    seen.came("b", 10.5)
    assert (seen.first_s, seen.all_s) == (0.5, None)
    seen.came("a", 12.0)
    assert (seen.first_s, seen.all_s) == (0.5, 2.0)


def test_a_report_fails_by_what_the_checker_finds() -> None:
    lost = Verdict((Violation("lost", "r1 has no outcome"),), COUNTS | {"lost": 1})
    struck = [Seen("flood", 1.0, first_s=0.25, all_s=0.5), Seen("flood", 9.0)]
    report = Report(Plan(7), lost, {"COMPLETED": 1}, struck)
    assert report.faults == ["lost: r1 has no outcome"]
    assert "0.2 (at most 0.2, 1 never)" in str(report)
    assert str(report).endswith("lost 1, contradicting 0, repeated 0, untold 0, violations 0")
    told = json.loads(json.dumps(report.as_json()))
    assert (told["seed"], told["lost"], told["faults"]) == (7, 1, {"flood": 2})
    assert [each["first_s"] for each in told["recovered"]] == [0.25, None]


def test_what_grows_fails_a_soak_only() -> None:
    grown = kept(held(50_000, count=50) + held(90_000))
    assert grown is not None
    for witness in (False, True):
        plan = Plan(7, witness=witness)
        report = Report(plan, Verdict((), COUNTS), {}, (), steady={"n1": grown})
        assert bool(report.faults) is witness


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.row("chaos")
def test_three_minutes_of_chaos(
    tmp_path: Path, figures: Figures, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(secrets.randbelow(1 << 32), minutes=3.0)
    assert run_and_tell(plan, tmp_path, figures, capsys) == []


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.row("soak")
def test_the_soak(
    tmp_path: Path,
    figures: Figures,
    capsys: pytest.CaptureFixture[str],
    pytestconfig: pytest.Config,
) -> None:
    plan = soak(int(pytestconfig.getoption("--seeds") or secrets.randbelow(1 << 32)))
    assert run_and_tell(plan, tmp_path, figures, capsys) == []
    assert (figures.requests or 0) >= 200_000


def run_and_tell(
    plan: Plan, folder: Path, figures: Figures, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What was violated; the seed comes first, the report last."""
    with capsys.disabled():
        print(f"\nchaos: {plan}", flush=True)
        report = run(plan, folder)
        report.show(figures)
        print(json.dumps(report.as_json()), report, sep="\n", flush=True)
    return report.faults


@pytest.fixture
def door() -> Iterator[tuple[str, list[str]]]:
    """A door that hangs up on its first caller, and the ids that it was asked with."""
    ids: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ids.append(self.headers["X-Request-Id"])
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if len(ids) == 1:
                return
            text = json.dumps({"request_id": ids[-1], "outputs": asked["inputs"]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", ids
        server.shutdown()
        thread.join()


def test_a_caller_asks_again_with_the_same_id(door: tuple[str, list[str]]) -> None:
    address, ids = door
    with Callers(address, again=True) as callers:
        told = callers.ask("echo", {"inputs": ["a"]}).result()
    assert len(ids) == 2
    assert {told.request_id, *ids} == {told.request_id}
    assert told.code == ""


def test_a_caller_who_asks_once_is_left_untold(door: tuple[str, list[str]]) -> None:
    with Callers(door[0]) as callers:
        assert callers.ask("echo", {"inputs": ["a"]}).result().code is None
