"""The benchmark from end to end, with counts too small for figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelmora.bench.cold import KINDS, PACKAGES
from modelmora.bench.run import ONLY

STARTS = {"start.ready_vs_parts", "start.second_demo_s"}
TEXT = {"gguf.vs_raw", "text.streams16_vs_one", "text.vs_raw"}
STREAM = {"stream.mb_s_1", "stream.mb_s_10", "stream.slow_growth_mb", "stream.vs_bare"}
DOORS = {
    "openai.first_token_later_ms",
    "openai.stream_vs_llamacpp",
    "rest.embed_64_vs_ceiling",
    "rest.rate_64",
    "stream.token_added_ms",
    *(f"rest.cpu_us.{name}" for name in ("broker", "caller", "children", "gateway", "node")),
}
COLD = {f"cold.{kind}_vs_fresh" for kind in (*KINDS, *PACKAGES)}
RATES = {
    "base.pss_mb",
    "critical.p99_over_batch",
    "echo.cpu_us.broker",
    "echo.cpu_us.caller",
    "echo.cpu_us.children",
    "echo.cpu_us.node",
    "echo.rate_vs_faust",
    "embed.fixed_vs_ceiling",
    "embed.mixed_vs_arrival",
    "embed.mixed_vs_best",
}
FEW = {"guard.check_us", "queue.ops_vs_asyncio", "queue.violations"}
TIMES = {
    "exactly_once.p50_ratio",
    "exactly_once.rate_ratio",
    "grpc.p50_vs_faust",
    *FEW,
    "guard.rest_p50",
    "overhead.p99_ms",
    "rest.p50_vs_faust",
    "swap.loads_vs_belady",
    "swap.seconds_vs_load",
    "unload.growth_mb_per_cycle",
    "unload.returned_share",
}
ONCE = {
    "estimate": "estimate.within_half",
    "scale": "scale.4_vs_1",
    "shadow": "shadow.cost",
    "simulate": "simulate.error",
    "tracing": "tracing.cost",
}
FAULTS = {
    "goodput.at_120",
    "goodput.killed",
    "nodes.join_added_s",
    "nodes.killed_to_outcome_s",
    "nodes.leave_added_s",
}
MEASURED_ELSEWHERE = {
    "chat",
    "cold",
    "goodput",
    "nodes",
    "rest",
    "start",
    "stream",
    "text",
    "tokens",
    *ONCE,
}
RATED = {"base", "critical", "echo", "embed"}


# What is timed of starts, other tests start too.
@pytest.mark.parametrize(
    ("only", "names"),
    [
        pytest.param(RATED, RATES, marks=pytest.mark.faults),
        ({"queue", "guard"}, FEW),
        pytest.param({*ONLY} - RATED - MEASURED_ELSEWHERE, TIMES, marks=pytest.mark.faults),
        pytest.param({"cold"}, COLD, marks=pytest.mark.faults),
        pytest.param({"start"}, STARTS, marks=pytest.mark.faults),
        pytest.param({*ONCE}, {*ONCE.values()}, marks=pytest.mark.faults),
        pytest.param({"goodput", "nodes"}, FAULTS, marks=pytest.mark.faults),
        pytest.param({"text"}, TEXT, marks=pytest.mark.faults),
        pytest.param({"stream"}, STREAM, marks=pytest.mark.faults),
        pytest.param({"chat", "rest", "tokens"}, DOORS, marks=pytest.mark.faults),
    ],
    ids=["rates", "few", "times", "cold", "starts", "once", "faults", "text", "stream", "doors"],
)
def test_a_quick_run_takes_every_figure(only: set[str], names: set[str], tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = [sys.executable, "-m", "modelmora.cli", "bench", "--quick", "--output", str(output)]
    command += ["--only", *sorted(only)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stderr
    results = json.loads(output.read_text())["results"]
    assert {result["name"] for result in results} == names
    assert all(name in ran.stdout for name in names)
