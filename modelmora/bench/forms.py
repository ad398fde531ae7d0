"""What a model gains as an ONNX graph, beside the same model in torch, through the topics."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from confluent_kafka import Message

from modelmora.bench.beside.ceiling import FIXED_TOKENS
from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage, Tail, appended_s, requests_of, serving
from modelmora.bench.text import ratio
from modelmora.errors import ModelMoraError
from modelmora.messages import Status
from modelmora.registry.definitions import MINILM
from modelmora.registry.exporting import export
from modelmora.registry.install import write_definition
from modelmora.registry.look import Looker
from modelmora.settings import load_settings
from modelmora.wire import decode_result

CALLS = 60
BATCH = 256
ROUNDS = 3
TEXT = " ".join(["river"] * 10)
Series = dict[str, list[float]]
LONG = " ".join(["river"] * (FIXED_TOKENS - 2))


def onnx_forms(scale: float) -> list[Figure]:
    """Single texts, one after the other, and many at once: torch, the graph, and its int8.

    Needs the extra `export`; the exports take two minutes. Raises ModelMoraError.
    """
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as name:
        folder = Path(name)
        settings = load_settings(data_dir=folder)
        (looked,) = Looker(settings).look((MINILM,))
        exact, _ = export(settings, looked, int8=False)
        int8, record = export(settings, looked, int8=True)
        forms = {"torch": replace(exact, version="torch"), "onnx": exact, "int8": int8}
        for form in ("torch", "onnx"):
            options = {**exact.details.options, "form": form}
            details = exact.details.model_copy(update={"options": options})
            write_definition(settings, replace(forms[form], details=details))
        keys = {form: "@".join(definition.key) for form, definition in forms.items()}
        with serving(folder, scale) as stage:
            waits, rates = _measured(stage, keys)
    quality = {f"cosine {what}": record[f"cosine_{what}"] for what in ("min", "mean")}
    told = {f"{form} ms": median(ms) for form, ms in waits.items()} | {
        f"{form} 256 at once /s": median(rate) for form, rate in rates.items()
    }
    return [
        Figure(
            "onnx.single_vs_torch",
            ratio(waits["torch"], waits["onnx"]),
            "ratio",
            at_least(1.3),
            median(waits["torch"]),
            told,
        ),
        Figure(
            "onnx.int8_single_vs_torch",
            ratio(waits["torch"], waits["int8"]),
            "ratio",
            None,
            median(waits["torch"]),
            quality,
        ),
    ]


def _measured(stage: Stage, keys: dict[str, str]) -> tuple[Series, Series]:
    """Ms of single texts and texts a second of many, per form, in turns."""
    tail = stage.tail("modelmora.results")
    waits: Series = {form: [] for form in keys}
    rates: Series = {form: [] for form in keys}
    for key in keys.values():
        _single_ms(stage, tail, key)  # loads it
    for _ in range(stage.scaled(CALLS, 2)):
        for form, key in keys.items():
            waits[form].append(_single_ms(stage, tail, key))
    for _ in range(stage.scaled(ROUNDS)):
        for form, key in keys.items():
            began = stage.send(requests_of(key, [LONG] * BATCH))
            rates[form].append(BATCH / (max(map(appended_s, _completed(tail, BATCH))) - began))
    tail.close()
    return waits, rates


def _single_ms(stage: Stage, tail: Tail, key: str) -> float:
    began = stage.send(requests_of(key, [TEXT]))
    return (appended_s(_completed(tail, 1)[0]) - began) * 1000


def _completed(tail: Tail, count: int) -> list[Message]:
    """The next outcomes. Raises ModelMoraError where one is no result."""
    found = tail.take(count)
    for status in (decode_result(message.value()).status for message in found):
        if status is not Status.COMPLETED:
            raise ModelMoraError(f"a request ended as {status}; see logs/modelmora.log")
    return found
