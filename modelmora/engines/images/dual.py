"""Models such as CLIP and SigLIP: images and texts as vectors of one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from modelmora.engines.loading import SAFE, reading, weights
from modelmora.errors import Code, RequestError
from modelmora.text import counted

_FIXED_LENGTH = 64
"""SigLIP was trained on texts filled up to this length, and does not mask what fills them."""


class Dual:
    """The two halves of such a model. Raises LoadError where its files are not whole."""

    def __init__(self, path: Path, device: Any) -> None:
        self.model = weights(AutoModel, str(path)).to(device)
        with reading("tokenizer"):
            self._tokenizer = AutoTokenizer.from_pretrained(str(path), **SAFE)
        self._fixed = "siglip" in self.model.config.model_type
        self._device = device
        places = int(self.model.config.text_config.max_position_embeddings)
        self._most = min(places, _FIXED_LENGTH) if self._fixed else places

    def images(self, pixels: Any) -> Any:
        """Vectors [images, dimension] of pixels [images, channels, height, width]."""
        return self.model.get_image_features(pixel_values=pixels).pooler_output

    def texts(self, texts: Sequence[str]) -> Any:
        """Vectors [texts, dimension]; of what is too long, the beginning."""
        padding = "max_length" if self._fixed else True
        read = self._tokenizer(
            list(texts),
            padding=padding,
            truncation=True,
            max_length=self._most,
            return_tensors="pt",
        )
        return self.model.get_text_features(**read.to(self._device)).pooler_output

    def check(self, texts: Sequence[str], *, truncate: bool) -> None:
        """Raises RequestError (invalid_input) where a text is too long and may not be cut."""
        if not texts or truncate:
            return
        long = max(len(ids) for ids in self._tokenizer(list(texts))["input_ids"])
        if long > self._most:
            raise RequestError(
                Code.INVALID_INPUT,
                f"a text has {counted(long, 'token')} and the model takes {self._most}; "
                "shorten it or send `truncate: true`",
            )

    def scores(self, images: Any, texts: Any) -> Any:
        """How well each image fits each text [images, texts], both normalised.

        For CLIP: among these texts (softmax). For SigLIP: by itself (sigmoid).
        """
        logits = images @ texts.t() * self.model.logit_scale.exp()
        if self._fixed:
            return torch.sigmoid(logits + self.model.logit_bias)
        return torch.softmax(logits, dim=-1)


def normalized(vectors: Any) -> Any:
    """Each of length 1."""
    return torch.nn.functional.normalize(vectors, dim=-1)
