"""The engine of `classify` on images: a classifier with labels of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageClassification

from modelmora.engines.architectures import labels_of
from modelmora.engines.files import read_json
from modelmora.engines.images.rows import OnImages, decoded
from modelmora.engines.labels import (
    as_tensors,
    check_labels,
    check_own_labels,
    probabilities,
    ranked,
)
from modelmora.engines.loading import tuned, weights
from modelmora.engines.sentences.sentence import CONFIG
from modelmora.messages import Content, InferenceRequest, Parameter


class ImageClasses(OnImages):
    """One image classifier."""

    _model: Any
    _config: Mapping[str, Any]
    _labels: tuple[str, ...]

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights and image processor; facts: labels, device. Raises LoadError."""
        self._config = read_json(path / CONFIG)
        self._labels = labels_of(self._config)
        device = self.use_device(options)
        model = weights(AutoModelForImageClassification, str(path)).to(self.device)
        self._model = tuned(model, options)
        self.use_processor(path, options)
        return {"labels": len(self._labels), "device": device}

    def contents(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Any]:
        """The images; their labels are the model's own, and fit a result."""
        check_own_labels(parameters)
        check_labels(parameters, self._labels, len(request.inputs))
        return super().contents(request, parameters)

    def compute(self, pixels: Any, parameters: Mapping[str, Parameter]) -> Any:
        """The best labels of each image."""
        scores = probabilities(self._model(pixel_values=pixels).logits, self._config)
        return ranked(scores.float().cpu().numpy(), self._labels, parameters)

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """Tensors `scores` and `labels`, both [n, labels], the best first."""
        return as_tensors(decoded(parts))
