"""The engine of `img2embed`: images, and texts where the model has them, to one FP32 tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

from modelmora.engines.architectures import Features, read_image_model
from modelmora.engines.base import Row
from modelmora.engines.images.dual import Dual, normalized
from modelmora.engines.images.rows import OnImages, decoded, image_of
from modelmora.engines.loading import weights
from modelmora.engines.numbers import finite
from modelmora.kafka.sizes import check_inputs, inputs_that_fit
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor

OUTPUT_NAME = "embedding"


class Vectors(OnImages):
    """One model of image vectors.

    Those of images and texts in one space have length 1, as these models compare them; others are
    the model's pooled output as it is. Parameter `normalize` overrules that.
    """

    _files: Features
    _dual: Dual | None = None
    _model: Any = None

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights and image processor; facts: dimension, texts, device. Raises LoadError."""
        self._files = read_image_model(path)
        device = self.use_device(options)
        if self._files.texts:
            self._dual = Dual(path, self.device)
        else:
            self._model = weights(AutoModel, str(path), unneeded="pooler").to(self.device)
        self.use_processor(path, options)
        return {"dimension": self._files.width, "texts": self._files.texts, "device": device}

    def contents(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Any]:
        """Images, and texts where the model has them; all of them fit a result."""
        if self._files.width:
            check_inputs(len(request.inputs), inputs_that_fit(4 * self._files.width))
        if self._dual is None:
            return super().contents(request, parameters)
        own = [
            each if isinstance(each, str) else image_of(each, f"input {place}")
            for place, each in enumerate(request.inputs)
        ]
        texts = [each for each in own if isinstance(each, str)]
        self._dual.check(texts, truncate=bool(parameters.get("truncate")))
        return own

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """One vector per row; for an image that cannot be decoded, the refusal."""
        texts = [row for row in rows if isinstance(row.data, str)]
        images = [row for row in rows if not isinstance(row.data, str)]
        computed = dict(zip(map(id, images), super().run(images, parameters), strict=True))
        if self._dual is not None and texts:
            with torch.inference_mode():
                vectors = self._told(self._dual.texts([row.data for row in texts]), parameters)
            computed |= zip(map(id, texts), vectors, strict=True)
        return [computed[id(row)] for row in rows]

    def compute(self, pixels: Any, parameters: Mapping[str, Parameter]) -> Any:
        """Vectors [images, dimension]."""
        if self._dual is not None:
            return self._told(self._dual.images(pixels), parameters)
        computed = self._model(pixel_values=pixels)
        if self._files.pooled:
            return self._told(computed.pooler_output.flatten(1), parameters)
        return self._told(computed.last_hidden_state[:, 0], parameters)

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One tensor [n, dimension]. Raises RequestError where a number in it is none."""
        vectors = finite(decoded(parts))
        return (Tensor(OUTPUT_NAME, "FP32", vectors.shape, vectors.tobytes()),)

    def _told(self, vectors: Any, parameters: Mapping[str, Parameter]) -> Any:
        wanted = parameters.get("normalize")
        if wanted or (wanted is None and self._dual is not None):
            vectors = normalized(vectors)
        return vectors.float().cpu().numpy()
