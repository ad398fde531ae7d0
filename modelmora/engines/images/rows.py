"""What the batch engines that read images share: plan, decode and prepare, compute by shape."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

# From its file: without torchvision, which is not needed, transformers itself does not export it.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from modelmora.engines.base import Plan, Row, as_batches
from modelmora.engines.images.pictures import decode, size_of
from modelmora.engines.loading import SAFE, OnTorch, reading
from modelmora.engines.options import option
from modelmora.engines.sentences.packing import Budget
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Parameter

_SIZES, _START = (2, 4, 8, 16, 32), 8
"""Images per batch: models resize to one shape, so that each costs the same."""


class OnImages(OnTorch):
    """An engine whose rows are images. Option `batch_size`: images per batch to start from."""

    budget: Budget
    _processor: Any

    def use_processor(self, path: Path, options: Mapping[str, Any]) -> None:
        """Prepare images as the model's files say. Raises LoadError."""
        with reading("image processor"):
            self._processor = AutoImageProcessor.from_pretrained(str(path), backend="pil", **SAFE)
        self.budget = Budget(option(options, "batch_size", _START), _SIZES)

    def contents(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Any]:
        """What is to be a row each; here the images, whose headers are looked at.

        Raises RequestError where this model does not take such a request.
        """
        if not request.inputs:
            raise RequestError(Code.INVALID_INPUT, "`inputs` is empty; send one or more images")
        return [image_of(each, f"input {place}") for place, each in enumerate(request.inputs)]

    @abstractmethod
    def compute(self, pixels: Any, parameters: Mapping[str, Parameter]) -> Any:
        """One output for each image of `pixels` [images, channels, height, width]."""

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        """Look at all headers; each image is a row."""
        plan, rows = Plan(), []
        for index, request in requests:
            try:
                own = self.contents(request, parameters)
                rows += [Row(index, part, each) for part, each in enumerate(own)]
            except RequestError as error:
                plan.refused.append((index, error))
        plan.batches = as_batches(rows, self.budget.current)
        return plan

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """One output per image; for one that cannot be decoded, the refusal."""
        started = time.perf_counter()
        outputs: list[Any] = [None] * len(rows)
        shapes: dict[Any, list[tuple[int, Any]]] = {}
        for place, row in enumerate(rows):
            try:
                pixels = self.prepare(row.data, f"input {row.part}")
            except RequestError as error:
                outputs[place] = error
                continue
            shapes.setdefault(pixels.shape, []).append((place, pixels))
        for group in shapes.values():
            pixels = torch.cat([each for _, each in group]).to(self.device)
            with torch.inference_mode():
                computed = self.compute(pixels, parameters)
            for (place, _), output in zip(group, computed, strict=True):
                outputs[place] = output
        if rows:
            self.budget.observe(len(rows), len(rows), time.perf_counter() - started)
        return outputs

    def prepare(self, content: bytes, where: str) -> Any:
        """The pixels of one image [1, channels, height, width]. Raises RequestError."""
        picture = decode(content, where)
        return self._processor(images=picture, return_tensors="pt")["pixel_values"]


def image_of(content: object, where: str) -> bytes:
    """One input that must be an image. Raises RequestError (invalid_input)."""
    if not isinstance(content, bytes):
        kind = type(content).__name__
        raise RequestError(
            Code.INVALID_INPUT, f"{where} is {kind}; send the bytes of an image file"
        )
    size_of(content, where)
    return content


def decoded(parts: Sequence[Any]) -> Sequence[Any]:
    """The parts of a request; raises the first refusal among them."""
    for part in parts:
        if isinstance(part, RequestError):
            raise part
    return parts
