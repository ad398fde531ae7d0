"""The engine of `classify` with labels that the request brings, for models such as CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from modelmora.engines.images.dual import Dual, normalized
from modelmora.engines.images.rows import OnImages, decoded
from modelmora.engines.labels import as_tensors, check_labels, ranked
from modelmora.errors import Code, RequestError
from modelmora.messages import Content, InferenceRequest, Parameter

TEMPLATE = "This is a photo of {}."
"""What transformers' pipeline makes of a label, unless told."""
_LABELS_AT_ONCE = 32


class ZeroShot(OnImages):
    """One model that compares images with any labels."""

    _model: Dual

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights, tokenizer and image processor; facts: device. Raises LoadError."""
        device = self.use_device(options)
        self._model = Dual(path, self.device)
        self.use_processor(path, options)
        self._known: tuple[tuple[str, ...], Any] = ((), None)
        return {"device": device}

    def contents(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Any]:
        """The images; there are labels, which fit a result, and a template for them."""
        check_labels(parameters, _labels(parameters), len(request.inputs))
        self._model.check(_texts(parameters), truncate=bool(parameters.get("truncate")))
        return super().contents(request, parameters)

    def compute(self, pixels: Any, parameters: Mapping[str, Parameter]) -> Any:
        """The best labels of each image."""
        images = normalized(self._model.images(pixels))
        scores = self._model.scores(images, self._vectors(_texts(parameters)))
        return ranked(scores.float().cpu().numpy(), _labels(parameters), parameters)

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """Tensors `scores` and `labels`, both [n, labels], the best first."""
        return as_tensors(decoded(parts))

    def _vectors(self, texts: tuple[str, ...]) -> Any:
        """Of the labels; those of the last request are kept, the next ones are often equal."""
        if self._known[0] != texts:
            starts = range(0, len(texts), _LABELS_AT_ONCE)
            parts = [self._model.texts(texts[at : at + _LABELS_AT_ONCE]) for at in starts]
            self._known = (texts, normalized(torch.cat(parts)))
        return self._known[1]


def _labels(parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
    labels = parameters.get("candidate_labels")
    if not isinstance(labels, tuple):
        raise RequestError(
            Code.INVALID_INPUT,
            "the model has no labels of its own; send some in the parameter `candidate_labels`",
        )
    return labels


def _texts(parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
    template = str(parameters.get("hypothesis_template", TEMPLATE))
    if "{}" not in template:
        raise RequestError(
            Code.INVALID_INPUT, "`hypothesis_template` has no {}, where the label belongs"
        )
    # Not str.format: a template comes from a stranger.
    return tuple(template.replace("{}", label) for label in _labels(parameters))
