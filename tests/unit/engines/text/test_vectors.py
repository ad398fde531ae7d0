"""Vectors and scores of GGUF models, against the same weights in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmora.engines import CATALOG, Engine, ModelFiles
from modelmora.engines.base import LoadError
from modelmora.engines.text.pooled import SCORES_ENGINE, VECTORS_ENGINE
from modelmora.errors import Code, RequestError
from modelmora.messages import DeviceKind, InferenceRequest, Tensor
from modelmora.registry.tasks import task_of
from tests.tiny_pooled import CLS, SEP, TOKENS, WIDTH, bert, ids, write_bert
from tests.tiny_texts import CONTEXT, write_gguf
from tests.unit.engines.engine_rig import answers, loaded

SAME = 0.99999


@pytest.fixture(scope="module")
def mean(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return loaded(write_bert(tmp_path_factory.mktemp("gguf") / "mean.gguf", 1), "txt2embed")


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = write_bert(tmp_path_factory.mktemp("gguf") / "rank.gguf", 4, head=True)
    return loaded(path, "rerank")


def read(task: str, path: Path) -> ModelFiles:
    reader = CATALOG[task].read
    assert reader is not None
    return reader(path)


def numbers(answer: Any) -> Any:
    assert not isinstance(answer, RequestError), answer
    (tensor,) = answer
    assert isinstance(tensor, Tensor)
    return np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)


def hidden(*tokens: int) -> Any:
    import torch

    with torch.no_grad():
        return bert().bert(torch.tensor([tokens])).last_hidden_state[0].numpy()


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def score(*tokens: int) -> float:
    import torch

    with torch.no_grad():
        return float(torch.sigmoid(bert()(torch.tensor([tokens])).logits[0, 0]))


def test_vectors_are_those_of_transformers(mean: Engine) -> None:
    (found, many) = answers(
        mean, "txt2embed", ["the rivers is blue"], ["sky", *["the river"] * 40, "sky"]
    )
    own = unit(hidden(CLS, *ids("the", "river", "##s", "is", "blue"), SEP).mean(0))
    assert numbers(found).shape == (1, WIDTH)
    assert numbers(found)[0] @ own > SAME
    assert numbers(many).shape == (42, WIDTH)  # over one batch, in their order
    assert numbers(many)[0] @ unit(hidden(CLS, *ids("sky"), SEP).mean(0)) > SAME
    assert numbers(many)[0] @ numbers(many)[-1] > SAME
    assert numbers(many)[20] @ unit(hidden(CLS, *ids("the", "river"), SEP).mean(0)) > SAME


def test_tokens_are_counted_by_batches(mean: Engine, ranker: Engine) -> None:
    """As llama.cpp counts: of a pair one end is no token to it."""
    for engine, texts, first, second in (
        (mean, ["the river", "is blue"], 4, 4),
        (ranker, ["sky", "the river", "is blue"], 5, 5),
    ):
        asked = InferenceRequest("r", "m", tuple(texts))
        (rows,) = engine.plan([(0, asked)], {}).batches
        engine.run(rows, {})
        assert sum(row.tokens for row in rows) == first + second
        engine.run(rows[:1], {})
        assert rows[0].tokens == first


def test_a_text_cut_counts_as_it_was_cut(mean: Engine) -> None:
    (rows,) = mean.plan([(0, InferenceRequest("r", "m", ("sky " * 1000,)))], {}).batches
    mean.run(rows, {"truncate": True})
    assert 0 < rows[0].tokens <= TOKENS
    refused = mean.plan([(0, InferenceRequest("r", "m", ("sky " * 1000, "sky")))], {}).batches[0]
    mean.run(refused, {})
    assert [row.tokens for row in refused] == [0, 3]


def test_the_files_tell_how_tokens_are_pooled(tmp_path: Path) -> None:
    engine = loaded(write_bert(tmp_path / "m" / "cls.gguf", 2).parent, "txt2embed")
    (found,) = answers(engine, "txt2embed", ["the sky"])
    assert numbers(found)[0] @ unit(hidden(CLS, *ids("the", "sky"), SEP)[0]) > SAME


def test_fewer_dimensions_are_the_first_of_length_1(mean: Engine) -> None:
    (whole,) = answers(mean, "txt2embed", ["the sky"])
    (cut,) = answers(mean, "txt2embed", ["the sky"], dimensions=8)
    assert np.allclose(numbers(cut)[0], unit(numbers(whole)[0, :8]), atol=1e-4)
    for wrong in ({"dimensions": WIDTH + 1}, {"prompt_name": "query"}):
        (fault,) = answers(mean, "txt2embed", ["the sky"], **wrong)
        assert isinstance(fault, RequestError)
        assert fault.code is Code.INVALID_INPUT


def test_a_text_too_long_is_refused_alone_or_cut_at_a_token(mean: Engine) -> None:
    most = "the " * (TOKENS - 2)
    short, fits, over = answers(mean, "txt2embed", ["sky"], [most], ["sky", f"{most} river"])
    assert numbers(short).shape == numbers(fits).shape == (1, WIDTH)
    assert isinstance(over, RequestError)
    assert over.code is Code.INVALID_INPUT
    assert over.message == (
        f"input 1 has {TOKENS + 1} tokens and the model takes {TOKENS}; "
        "shorten it or send `truncate: true`"
    )
    (cut,) = answers(mean, "txt2embed", [f"{most} river blue"], truncate=True)
    assert numbers(cut)[0] @ numbers(fits)[0] > SAME


def test_scores_are_those_of_transformers_in_their_order(ranker: Engine) -> None:
    found, other = answers(
        ranker, "rerank", ["the river", "sky is blue", "blue", ""], ["sky", "the river"]
    )
    query = (CLS, *ids("the", "river"), SEP)
    own = [score(*query, *ids(*words)) for words in (("sky", "is", "blue"), ("blue",), ())]
    assert np.allclose(numbers(found), own, atol=1e-3)
    own = [score(CLS, *ids("sky"), SEP, *ids("the", "river"))]
    assert np.allclose(numbers(other), own, atol=1e-3)


def test_of_a_pair_too_long_the_document_is_cut(ranker: Engine) -> None:
    long = "the " * TOKENS
    asked = (["sky", "blue", long], [long, "sky"], ["sky"])
    refused = answers(ranker, "rerank", *asked)
    cut, query, _ = answers(ranker, "rerank", *asked, truncate=True)
    told = [str(each) for each in (*refused, query)]
    assert told[0].startswith(f"input 2 has {TOKENS + 3} tokens and the model takes {TOKENS}")
    assert told[2].startswith("`inputs` holds a query and no document")
    assert told[3].endswith("its query is too long")
    (fits,) = answers(ranker, "rerank", ["sky", "the " * (TOKENS - 3)])
    assert np.allclose(numbers(cut)[1], numbers(fits)[0], atol=1e-4)


def test_a_decoder_pools_too(tmp_path: Path) -> None:
    engine = loaded(write_gguf(tmp_path / "last.gguf", llama__pooling_type=3), "txt2embed")
    fits, over = answers(engine, "txt2embed", ["x" * (CONTEXT - 3)], ["x" * CONTEXT])
    assert numbers(fits).shape == (1, 32)
    assert f"the model takes {CONTEXT - 1}" in str(over)


@pytest.mark.parametrize(
    ("pooling", "task", "engine"),
    [(1, "txt2embed", VECTORS_ENGINE), (4, "rerank", SCORES_ENGINE), (None, "txt2embed", None)],
)
def test_the_catalogue_reads_the_header(
    tmp_path: Path, pooling: int | None, task: str, engine: str | None
) -> None:
    path = write_bert(tmp_path / "m" / "m.gguf", pooling, head=pooling == 4)
    (tmp_path / "m" / "config.json").write_text('{"n_ctx": 64}')
    assert task_of(path.parent, ["m.gguf"], "text-generation") == task_of(path, [path.name]) == task
    if engine is None:
        with pytest.raises(LoadError, match="does not tell how the vectors"):
            read(task, path)
        return
    files = read(task, path.parent)
    assert (files.engine, files.devices) == (engine, (DeviceKind.CPU,))
    assert files.facts["max_tokens"] == TOKENS
    assert files.facts.get("dimension", WIDTH) == WIDTH
    assert files.weight_bytes == path.stat().st_size
    assert 0 < files.cache_bytes < 1 << 20


def test_what_cannot_rank_is_refused(tmp_path: Path) -> None:
    for path, fault in (
        (write_bert(tmp_path / "mean.gguf", 1), "no reranker"),
        (write_bert(tmp_path / "headless.gguf", 4), "no head"),
        (write_bert(tmp_path / "many.gguf", 4, head=True, labels=3), "gives 3 scores"),
    ):
        with pytest.raises(LoadError, match=fault) as refusal:
            read("rerank", path)
        assert refusal.value.code is Code.CANNOT_BE_SERVED


def test_options_of_other_forms_are_refused(tmp_path: Path) -> None:
    from modelmora.engines.text.vectors import GgufVectors

    with pytest.raises(LoadError, match="takes no option `token_budget`") as refusal:
        GgufVectors().load(write_bert(tmp_path / "m.gguf", 1), {"token_budget": 512})
    assert refusal.value.code is Code.CANNOT_BE_SERVED


def test_a_share_of_threads_counts_once_it_has_lasted(tmp_path: Path) -> None:
    from modelmora.engines.text.vectors import PATIENCE, GgufVectors

    engine = GgufVectors()
    engine.load(write_bert(tmp_path / "m.gguf", 1), {})
    first = engine._server
    for told in [1, 2] * PATIENCE:
        engine.use_threads(told)
        answers(engine, "txt2embed", ["sky"])
    assert engine._server is first
    for _ in range(PATIENCE):
        engine.use_threads(1)
    answers(engine, "txt2embed", ["sky"])
    assert engine._server is not first
