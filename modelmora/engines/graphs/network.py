"""A transformer as an ONNX graph, called as those of torch are; imported in a child only."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from modelmora.engines.graphs.forms import read_text_graph
from modelmora.engines.graphs.session import Session


class OnnxNetwork:
    """What the engines ask of a model of transformers, answered by ONNX Runtime."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        """Raises LoadError."""
        self._text = read_text_graph(folder)
        self._session = Session(self._text.graph, options)
        self.use_threads = self._session.use_threads
        self.config = SimpleNamespace(
            hidden_size=self._text.width, max_position_embeddings=self._text.places
        )

    def get_input_embeddings(self) -> SimpleNamespace:
        """How many tokens it knows."""
        return SimpleNamespace(num_embeddings=self._text.vocabulary or sys.maxsize)

    def named_modules(self) -> tuple[()]:
        """It has none."""
        return ()

    def __call__(self, **inputs: Any) -> SimpleNamespace:
        """Its output as `last_hidden_state` and as `logits`: the graph has only one of them."""
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        none = np.zeros_like(given["input_ids"])
        graph = self._text.graph
        outputs = self._session.run({p.name: given.get(p.name, none) for p in graph.inputs})
        place = [port.name for port in graph.outputs].index(self._text.output)
        found = torch.from_numpy(outputs[place])
        return SimpleNamespace(last_hidden_state=found, logits=found)
