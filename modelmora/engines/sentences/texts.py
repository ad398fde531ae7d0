"""What the batch engines that read texts share: plan by tokens, pack, compute, learn the budget."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from modelmora.engines.base import Plan, Row
from modelmora.engines.graphs.forms import form_of
from modelmora.engines.graphs.network import OnnxNetwork
from modelmora.engines.loading import OnTorch, tuned, weights
from modelmora.engines.options import option
from modelmora.engines.sentences.packing import BUDGETS, START, Budget, pack
from modelmora.engines.sentences.tokens import Text
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Parameter

# A device with its own memory is idle at sizes that fill a CPU; learning starts higher there.
DEVICE_BUDGETS, DEVICE_START = (4096, 16384, 65536), 16384


class OnTexts(OnTorch):
    """An engine whose rows are texts, or pairs of them.

    Options: `token_budget` (padded tokens per batch to start from), `form` (auto, torch, onnx),
    `onnx` (the folder of a graph that lies elsewhere), and, of a graph, those of `Session`.
    """

    network: Any = None

    tokenizer: Any
    """A Tokenizer, or what reads texts and makes batches as one does."""
    budget: Budget
    pads = True
    first = 0
    """The input of a request that its first row stands for."""

    def read(
        self, auto: Any, folder: Path, options: Mapping[str, Any], unneeded: str | None = None
    ) -> Any:
        """The network in the form that files and options call for. Raises LoadError."""
        place = form_of(folder, options, on_cpu=self.device.type == "cpu")
        if place is None:
            return tuned(weights(auto, str(folder), unneeded).to(self.device), options)
        return OnnxNetwork(place, options)

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads."""
        super().use_threads(count)
        if hasattr(self.network, "use_threads"):
            self.network.use_threads(count)

    def use_budget(self, options: Mapping[str, Any]) -> None:
        """Pack batches by the budget of these options and of the device."""
        own_memory = self.device.type != "cpu"
        budgets, start = (DEVICE_BUDGETS, DEVICE_START) if own_memory else (BUDGETS, START)
        self.budget = Budget(option(options, "token_budget", start), budgets)

    @abstractmethod
    def texts(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Text]:
        """The texts of a request, each to be a row. Raises RequestError."""

    @abstractmethod
    def compute(self, inputs: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Any:
        """A tensor with one row for each of `inputs`."""

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        """Tokenise all texts, sort them by length and pack them; each text is a row."""
        refused: dict[int, RequestError] = {}
        places: list[tuple[int, int]] = []
        texts: list[Text] = []
        for index, request in requests:
            try:
                own = self.texts(request, parameters)
            except RequestError as error:
                refused[index] = error
                continue
            places += [(index, part) for part in range(len(own))]
            texts += own
        read = self.tokenizer.read(texts, truncate=bool(parameters.get("truncate")))
        for (index, part), tokens in zip(places, read, strict=True):
            if index not in refused and (fault := self.tokenizer.fault(tokens)):
                refused[index] = RequestError(
                    Code.INVALID_INPUT, f"input {part + self.first} {fault}"
                )
        rows = [
            Row(index, part, tokens, length := len(tokens.ids), length)
            for (index, part), tokens in zip(places, read, strict=True)
            if index not in refused
        ]
        batches = pack([row.cost for row in rows], self.budget.current)
        return Plan([[rows[i] for i in batch] for batch in batches], [*refused.items()])

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """One row of numbers per text."""
        started = time.perf_counter()
        with torch.inference_mode():
            computed = self.compute(self.tokenizer.batch(rows, self.device), parameters)
            answer = computed.to(torch.float32).cpu().numpy()
        tokens, width = sum(row.cost for row in rows), max(row.cost for row in rows)
        self.budget.observe(tokens, width * len(rows), time.perf_counter() - started)
        return list(answer)
