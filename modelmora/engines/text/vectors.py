"""The engines of `txt2embed` and `rerank` on GGUF: llama.cpp computes, a batch of texts in one go.

Imported in a child only; llama.cpp is loaded with it.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from modelmora.engines.base import Engine, Plan, Row, as_batches, query_of, texts_of
from modelmora.engines.files import broken
from modelmora.engines.numbers import finite
from modelmora.engines.options import check_options
from modelmora.engines.sentences.sentence import dimensions_of, prompt_of
from modelmora.engines.text import llama
from modelmora.engines.text.llama import TooLong
from modelmora.engines.text.pooled import PooledModel, read_pooled
from modelmora.errors import Code, RequestError
from modelmora.kafka.sizes import check_inputs, inputs_that_fit
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor
from modelmora.text import counted

BATCH = 32
"""Texts between two looks at who still waits."""
PATIENCE = 8
"""A share of threads is taken up once it was told so often in a row: llama.cpp starts anew."""
Pair = tuple[str, str]
"""What stands before the text, and the text: that part may be cut."""


class OnGguf(Engine):
    """An engine whose rows are texts behind something that is never cut. It has no options."""

    ranks = False
    first = 0
    """The input of a request that its first row stands for."""
    _read: PooledModel

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the model; facts: dimension (of vectors), max_tokens, device. Raises LoadError."""
        check_options("a GGUF of vectors or scores", options, ("device",))
        self._read = read_pooled(path, ranks=self.ranks)
        self._threads = self._wanted = len(os.sched_getaffinity(0))  # what a model alone gets
        self._told = 0
        self._start()
        return {"max_tokens": self._read.tokens, "device": "cpu"}

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads, once it has been told `PATIENCE` times in a row."""
        if count > 0:
            self._told = self._told + 1 if count == self._wanted else 1
            self._wanted = count

    @abstractmethod
    def pairs(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Pair]:
        """The texts of a request, each to be a row. Raises RequestError."""

    @abstractmethod
    def ask(self, pairs: Sequence[Pair]) -> tuple[list[Any], int]:
        """What llama.cpp makes of each, and the tokens of all. Raises TooLong, RequestError."""

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        """Each text is a row. Only llama.cpp counts its tokens, so one too long fails later."""
        plan, rows = Plan(), []
        for index, request in requests:
            try:
                pairs = self.pairs(request, parameters)
            except RequestError as error:
                plan.refused.append((index, error))
                continue
            rows += [Row(index, part, pair, sum(map(len, pair))) for part, pair in enumerate(pairs)]
        plan.batches = as_batches(rows, BATCH)
        return plan

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """Numbers for each text, or why there are none."""
        if self._wanted != self._threads and self._told >= PATIENCE:
            self._start()
        try:
            found, tokens = self.ask([row.data for row in rows])
        except (TooLong, RequestError):  # of one of them, and nothing of the others
            return [self._alone(row, cut=bool(parameters.get("truncate"))) for row in rows]
        for row, share in zip(rows, shares(tokens, [row.cost for row in rows]), strict=True):
            row.tokens = share
        return found

    def _alone(self, row: Row, *, cut: bool) -> Any:
        try:
            (found,), row.tokens = self.ask([row.data])
            return found
        except RequestError as error:
            return error
        except TooLong as error:
            if cut and (found := self._longest(row)) is not None:
                return found
            told = "its query is too long" if cut else "shorten it or send `truncate: true`"
            return RequestError(
                Code.INVALID_INPUT,
                f"has {counted(error.tokens, 'token')} and the model takes {self._read.tokens}; "
                f"{told}",
            )

    def _longest(self, row: Row) -> Any:
        """What llama.cpp makes of the longest begin of the text that it takes, if of any."""
        before, text = row.data
        found, fits, over = None, -1, len(text)
        while over - fits > 1:
            middle = (fits + over) // 2
            try:
                (found,), row.tokens = self.ask([(before, text[:middle])])
                fits = middle
            except TooLong:
                over = middle
        return found

    def checked(self, parts: Sequence[Any]) -> np.ndarray[Any, Any]:
        """Rows of numbers as one array. Raises RequestError for the first that has none."""
        for place, part in enumerate(parts):
            if isinstance(part, RequestError):
                if part.code is not Code.INVALID_INPUT:
                    raise part
                raise RequestError(part.code, f"input {place + self.first} {part.message}")
        return finite(parts)

    def _start(self) -> None:
        self._server: Any = None  # its memory first
        self._threads = self._wanted
        read = self._read
        self._server = llama.start(
            read.model,
            slots=read.slots,
            pool=read.pool,
            threads=self._threads,
            texts=llama.Texts(read.tokens, self.ranks),
        )


class GgufVectors(OnGguf):
    """One model of vectors, all of length 1."""

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `OnGguf`."""
        facts = super().load(path, options)
        (vector,), _ = self.ask([("", "a")])
        if len(vector) != self._read.width:
            raise broken(
                f"its vectors have {len(vector)} dimensions, and its file says {self._read.width}"
            )
        return {"dimension": self._read.width, **facts}

    def pairs(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Pair]:
        """The inputs."""
        own = texts_of(request)
        check_inputs(len(own), inputs_that_fit(4 * dimensions_of(parameters, self._read.width)))
        return [(prompt_of(parameters, {}, ""), text) for text in own]

    def ask(self, pairs: Sequence[Pair]) -> tuple[list[Any], int]:
        """Vectors, and the tokens of all."""
        return llama.embed(self._server, ["".join(pair) for pair in pairs])

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """A vector for each text, cut to the dimensions asked for and then of length 1 again."""
        most = dimensions_of(parameters, self._read.width)
        found = super().run(rows, parameters)
        if most == self._read.width:
            return found
        return [each if isinstance(each, RequestError) else _unit(each[:most]) for each in found]

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One tensor [n, dimensions]. Raises RequestError."""
        vectors = self.checked(parts)
        return (Tensor("embedding", "FP32", vectors.shape, vectors.tobytes()),)


class GgufScores(OnGguf):
    """One reranker: the first input is the query, all others are documents."""

    ranks = True
    first = 1

    def pairs(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Pair]:
        """The query with each document."""
        query, documents = query_of(request)
        return [(query, document) for document in documents]

    def ask(self, pairs: Sequence[Pair]) -> tuple[list[Any], int]:
        """Scores from 0 to 1, as our other rerankers give them where nothing else is told."""
        scores: list[float] = []
        tokens = 0
        for query, group in groupby(pairs, key=lambda pair: pair[0]):
            found, read = llama.rerank(self._server, query, [document for _, document in group])
            scores += found
            tokens += read
        return scores if self._read.shares else [*_sigmoid(np.array(scores))], tokens

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One tensor `scores` [documents], in their order. Raises RequestError."""
        scores = self.checked(parts)
        return (Tensor("scores", "FP32", scores.shape, scores.tobytes()),)


def shares(total: int, costs: Sequence[int]) -> list[int]:
    """A total in parts as the costs are; of a batch llama.cpp tells no more than that."""
    whole = max(1, sum(costs))
    ends = [total * upto // whole for upto in accumulate(costs)]
    return [end - before for before, end in pairwise([0, *ends])]


def _sigmoid(numbers: np.ndarray[Any, Any]) -> Any:
    return 1 / (1 + np.exp(-numbers))


def _unit(vector: np.ndarray[Any, Any]) -> Any:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
