"""What it costs callers that their requests are traced."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from modelmora.bench.callers import rate
from modelmora.bench.cpu import spent
from modelmora.bench.rate import TEXT
from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage, serving
from modelmora.bench.text import in_turns, ratio

CALLERS = 16
ECHOES = 2_000
ROUNDS = 7
SHARES = {"off": None, "1 %": 0.01, "100 %": 1.0}


def tracing_cost(scale: float) -> list[Figure]:
    """Echoes a second over REST. Three instances take turns, each idle while another is measured.

    They differ in the share of traces that is recorded, in gateway and node. Spans are taken, and
    thrown away, in this process.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelmora-bench-")))
        collector = stack.enter_context(_collecting())
        stages: dict[str, Stage] = {}
        for number, (name, share) in enumerate(SHARES.items()):
            (own := folder / str(number)).mkdir()
            told = {
                "MODELMORA_TRACING__ENDPOINT": collector,
                "MODELMORA_TRACING__SHARE": str(share),
            }
            variables = {} if share is None else told
            stages[name] = stack.enter_context(serving(own, scale, variables))
        asks = {name: partial(_rate, stage) for name, stage in stages.items()}
        for ask in asks.values():
            ask()
        rounds = in_turns(asks, max(1, int(ROUNDS * scale)))
    rates = {name: [each for each, _ in found] for name, found in rounds.items()}
    costs = {name: [each for _, each in found] for name, found in rounds.items()}
    beside = {f"{name} /s": median(found) for name, found in rates.items()}
    beside["100 % by off"] = ratio(rates["100 %"], rates["off"])
    beside |= {f"{name} CPU us": median(found) for name, found in costs.items()}
    beside["1 % CPU by off"] = ratio(costs["1 %"], costs["off"])
    cost = ratio(rates["1 %"], rates["off"])
    return [Figure("tracing.cost", cost, "ratio", at_least(0.98), None, beside)]


def _rate(stage: Stage) -> tuple[float, float]:
    """Answers a second, and the CPU time (us) of gateway and node for each."""
    bodies = [{"inputs": [TEXT]}] * stage.scaled(ECHOES, CALLERS)
    with spent({name: [stage.pid(name)] for name in ("gateway", "node")}) as cpu_s:
        found = rate(str(stage.run.http), "/infer/echo", bodies, CALLERS)
    return found, sum(cpu_s.values()) / len(bodies) * 1e6


@contextmanager
def _collecting() -> Iterator[str]:
    """The address of a collector that keeps nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
