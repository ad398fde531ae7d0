"""The engine of `txt2embed` for models that need Sentence Transformers itself.

Imported by children and their zygote only, where the files call for it: it brings scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from modelmora.engines.base import Row, texts_of
from modelmora.engines.files import broken
from modelmora.engines.loading import SAFE, reading
from modelmora.engines.numbers import finite
from modelmora.engines.sentences.embedding import OUTPUT_NAME
from modelmora.engines.sentences.sentence import dimensions_of, first_json, prompt_of, read_prompts
from modelmora.engines.sentences.steps import SentenceStep, read_steps
from modelmora.engines.sentences.texts import OnTexts
from modelmora.engines.sentences.tokens import Text, Tokenizer, Tokens
from modelmora.kafka.sizes import check_inputs, inputs_that_fit
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor


@dataclass(frozen=True, slots=True)
class Said(Tokens):
    """The tokens of a text, by which it is planned, and the text, which the library reads."""

    text: str = ""


class Library(OnTexts):
    """One sentence model, computed by the library."""

    _model: Any

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the model; facts: dimension, max_tokens (if limited), device. Raises LoadError."""
        steps = read_steps(path)
        device = self.use_device(options)
        with reading("files"):
            self._model = SentenceTransformer(
                str(path), device=device, model_kwargs={"use_safetensors": True}, **SAFE
            ).eval()
            self.tokenizer = _Reader(self._model, steps[0])
        self._prompts, default = read_prompts(path)
        self._prompt = self._prompts.get(default, "")
        self._normalize = any(step.name == "Normalize" for step in steps)
        self.use_budget(options)
        self._dimension = self._model.get_embedding_dimension()
        if self._dimension is None:
            raise broken("its files do not tell how long its vectors are")
        limit = self.tokenizer.most
        facts = {"dimension": self._dimension, "device": device}
        return facts if limit is None else {**facts, "max_tokens": limit}

    def texts(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Text]:
        """The inputs, behind the prompt."""
        own = texts_of(request)
        check_inputs(len(own), inputs_that_fit(4 * dimensions_of(parameters, self._dimension)))
        prompt = prompt_of(parameters, self._prompts, self._prompt)
        return [prompt + text for text in own]

    def compute(self, inputs: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Any:
        """Vectors [rows, dimensions] of the texts in `inputs`."""
        dimensions = dimensions_of(parameters, self._dimension)
        prompt = prompt_of(parameters, self._prompts, self._prompt)
        return self._model.encode(
            [text.removeprefix(prompt) for text in inputs["texts"]],
            prompt=prompt,
            batch_size=len(inputs["texts"]),
            truncate_dim=dimensions,
            # Cut off, they are no longer of length 1.
            normalize_embeddings=self._normalize and dimensions < self._dimension,
            show_progress_bar=False,
            convert_to_tensor=True,
        )

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One tensor [n, dimensions]. Raises RequestError where a number in it is none."""
        vectors = finite(parts)
        return (Tensor(OUTPUT_NAME, "FP32", vectors.shape, vectors.tobytes()),)


class _Reader:
    """Counts tokens as the library will; `most` is None where it takes any number."""

    def __init__(self, model: Any, first: SentenceStep) -> None:
        self._static: Any = None
        self._own: Tokenizer | None = None
        if first.name == "StaticEmbedding":
            self._static = model.tokenizer
        else:
            told = first_json(first.folder, "sentence_*_config.json")
            self._own = Tokenizer(
                model.tokenizer,
                model.transformers_model,
                model.max_seq_length,
                lower_case=bool(told.get("do_lower_case")),
            )
        self.most = self._own and self._own.most

    def read(self, texts: Sequence[str], *, truncate: bool) -> list[Said]:
        """The texts and their tokens."""
        if self._own is not None:
            read = [each.ids for each in self._own.read(texts, truncate=truncate)]
        else:
            given = self._static.encode_batch_fast(list(texts), add_special_tokens=False)
            read = [each.ids for each in given]
        return [Said(ids, None, text) for ids, text in zip(read, texts, strict=True)]

    def fault(self, tokens: Tokens) -> str | None:
        """Why a text with these tokens cannot be computed."""
        return self._own.fault(tokens) if self._own is not None else None

    def batch(self, rows: Sequence[Row], device: Any) -> dict[str, Any]:
        """The texts of the rows."""
        return {"texts": [row.data.text for row in rows]}
