"""What copies for a version that is tried cost those who are served."""

from __future__ import annotations

import http.client
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from confluent_kafka import Message

from modelmora.bench.rate import TEXT
from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage, appended_s, requests_of, serving

RECORDS = 5_000
IN_FLIGHT = 64
ROUNDS = 5
KINDS = ("without", "with")
PERCENT = 10
NAME = "tried"
MODELS = [
    {"name": NAME, "version": version, "task": "echo", "source": "builtin:echo"}
    for version in ("1", "2")
]


def shadow_cost(scale: float) -> list[Figure]:
    """Echoes a second of callers who each wait for one answer before they ask again.

    Two instances take turns, each idle while the other is measured; in one of them a second version
    gets copies.
    """
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelmora-bench-")))
        stages: dict[str, Stage] = {}
        for kind in KINDS:
            (folder / kind).mkdir()
            variables = {"MODELMORA_MODELS": json.dumps(MODELS)}
            stages[kind] = stack.enter_context(serving(folder / kind, scale, variables))
        compared = stages["with"].tail("modelmora.compare")
        stack.callback(compared.close)
        _route(stages["with"])
        for stage in stages.values():
            _live_rate(stage, stage.scaled(RECORDS))
        compared.take(1)  # the version is loaded
        for _ in range(max(1, int(ROUNDS * scale))):
            for kind, stage in stages.items():
                rates[kind].append(_live_rate(stage, stage.scaled(RECORDS)))
        copies = len(compared.rest())
    pairs = [there / without for without, there in zip(*rates.values(), strict=True)]
    beside: dict[str, float] = {f"{kind} /s": median(found) for kind, found in rates.items()}
    beside["copies run"] = copies
    return [Figure("shadow.cost", median(pairs), "ratio", at_least(0.9), None, beside)]


def _route(stage: Stage) -> None:
    """Have the second version get copies, and wait until that counts."""
    body = json.dumps({"weights": {"1": 1}, "shadow": {"2": PERCENT}}).encode()
    address = urlsplit(str(stage.run.http))
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    headers = {"Content-Type": "application/json"}
    connection.request("PUT", f"/models/{NAME}/route", body, headers)
    since_ms = json.loads(connection.getresponse().read())["since_ms"]
    connection.close()
    time.sleep(max(0.0, since_ms / 1000 - time.time()) + 1)


def _live_rate(stage: Stage, count: int) -> float:
    """Answers a second while so many are asked at once."""
    tail, began = stage.tail("modelmora.results"), time.time()
    requests = requests_of(NAME, [TEXT] * count)
    for request in requests[:IN_FLIGHT]:
        stage.send_one(request)
    answers: list[Message] = []
    asked = min(IN_FLIGHT, count)
    while len(answers) < count:
        found = tail.take(1)
        answers += found
        for request in requests[asked : asked + len(found)]:
            stage.send_one(request)
        asked += len(found)
    tail.close()
    return len(answers) / (max(map(appended_s, answers)) - began)
