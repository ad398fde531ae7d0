"""The engine of `img2txt`: what an image shows, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    StoppingCriteria,
    VisionEncoderDecoderModel,
)

from modelmora.engines.architectures import architecture_of
from modelmora.engines.base import OnStep, Row
from modelmora.engines.files import read_json
from modelmora.engines.images.rows import OnImages, decoded
from modelmora.engines.loading import SAFE, reading, weights
from modelmora.engines.sentences.sentence import CONFIG
from modelmora.messages import Content, InferenceRequest, Parameter

_CLASSES: Mapping[str, Any] = {
    "GitForCausalLM": AutoModelForCausalLM,
    "VisionEncoderDecoderModel": VisionEncoderDecoderModel,
}
"""How each architecture is read; the others as AutoModelForImageTextToText."""
_UNCACHED = ("GitForCausalLM",)
"""With its cache, GIT of transformers 5.17 writes other words than its weights mean."""


class _Steps(StoppingCriteria):  # type: ignore[misc]  # the library is Any to mypy
    """Tells after each token; stops nothing by itself."""

    def __init__(self, tell: OnStep, rows: Sequence[Row], total: int) -> None:
        self._tell, self._rows, self._total, self._done = tell, rows, total, 0

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self._done += 1
        self._tell(self._rows, self._done, self._total)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class Captions(OnImages):
    """One captioner. Without a temperature it answers with the likeliest words, always the same."""

    on_step: OnStep | None = None
    _model: Any
    _tokenizer: Any

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights, tokenizer and image processor; facts: device. Raises LoadError."""
        name = architecture_of(read_json(path / CONFIG))
        self._cached = name not in _UNCACHED
        device = self.use_device(options)
        auto = _CLASSES.get(name, AutoModelForImageTextToText)
        self._model = weights(auto, str(path)).to(self.device)
        with reading("tokenizer"):
            self._tokenizer = AutoTokenizer.from_pretrained(str(path), **SAFE)
        self.use_processor(path, options)
        return {"device": device}

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """One text per image; for one that cannot be decoded, the refusal.

        Where chance plays a part, each image is drawn for by itself, so that a seed gives the same
        words alone and in company.
        """
        self._rows = rows
        if not _number(parameters, "temperature"):
            return super().run(rows, parameters)
        return [output for row in rows for output in super(Captions, self).run([row], parameters)]

    def compute(self, pixels: Any, parameters: Mapping[str, Parameter]) -> Any:
        """The words of each image."""
        most = int(_number(parameters, "max_tokens"))
        told: dict[str, Any] = {"max_new_tokens": most, "do_sample": False}
        told["use_cache"] = self._cached
        if temperature := _number(parameters, "temperature"):
            told |= {"do_sample": True, "num_beams": 1, "temperature": temperature}
            seed = parameters.get("seed")
            torch.manual_seed(seed if isinstance(seed, int) else torch.seed())
        if self.on_step is not None:
            told["stopping_criteria"] = [_Steps(self.on_step, self._rows, most)]
        ids = self._model.generate(pixel_values=pixels, **told)
        return [
            text.strip() for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        ]

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One string per image."""
        return list(decoded(parts))


def _number(parameters: Mapping[str, Parameter], name: str) -> float:
    value = parameters.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
