"""What a model takes is known before anything is computed, whatever the model is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelmora.engines.base import LoadError
from modelmora.engines.sentences.sentence import read_files
from modelmora.errors import Code, RequestError
from modelmora.kafka.sizes import MOST_INLINE, OUTPUT_BYTES, check_inputs, inputs_that_fit
from modelmora.messages import InferenceRequest
from modelmora.wire import encode_outputs
from tests.tiny_models import KINDS, PLACES, WIDTH, make_tiny

if TYPE_CHECKING:
    from modelmora.engines.sentences.embedding import Embedding

ODD = ("", " ", "[CLS]", "[SEP] [SEP]", "[PAD] <pad>", "\0", "naïve 東京", "river [PAD] river")


def load(path: Path) -> Embedding:
    from modelmora.engines.sentences.embedding import Embedding

    made = Embedding()
    made.load(path, {"device": "cpu"})
    return made


def refusals(engine: Embedding, texts: tuple[str, ...], *, truncate: bool) -> list[RequestError]:
    """Compute the texts, each a request of its own; what was refused."""
    requests = [(n, InferenceRequest("r", "m", (text,))) for n, text in enumerate(texts)]
    plan = engine.plan(requests, {"truncate": truncate})
    for batch in plan.batches:
        for vector in engine.run(batch, {"truncate": truncate}):
            assert (vector == vector).all(), "no NaN"
    return [error for _, error in plan.refused]


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_tokens_as_the_model_has_places_for(tmp_path: Path, kind: str) -> None:
    # RoBERTa, XLM-R and MPNet count positions from behind their padding index, which is 1.
    places = PLACES if kind in ("bert", "distilbert") else PLACES - 2
    engine = load(make_tiny(tmp_path / kind, kind))
    just, over, far = (" ".join(["river"] * n) for n in (places - 2, places - 1, 20_000))
    assert refusals(engine, (just, *ODD), truncate=False) == []
    assert refusals(engine, (just, over, far, *ODD), truncate=True) == []
    (refused, _) = refusals(engine, (over, far, just), truncate=False)
    assert refused.code is Code.INVALID_INPUT
    assert refused.message.startswith(
        f"input 0 has {places + 1} tokens and the model takes {places}"
    )


@pytest.mark.parametrize(("length", "takes"), [(10, 10), (3, 3), (10_000, PLACES)])
def test_the_files_may_say_less_but_never_more(tmp_path: Path, length: int, takes: int) -> None:
    engine = load(make_tiny(tmp_path / "m", max_seq_length=length))
    assert refusals(engine, ("river " * 99,), truncate=True) == []
    (refused,) = refusals(engine, ("river " * 99,), truncate=False)
    assert f"the model takes {takes};" in refused.message


@pytest.mark.parametrize("length", [0, -1, "10", 2.5, True, 2])
def test_a_length_without_room_for_a_text_is_no_model(tmp_path: Path, length: object) -> None:
    folder = make_tiny(tmp_path / "m", max_seq_length=length)
    with pytest.raises(LoadError, match=r"max_seq_length|holds no text"):
        load(folder)


def test_an_engine_computes_nothing_of_what_fits_no_result(tmp_path: Path) -> None:
    engine = load(make_tiny(tmp_path / "m"))
    most = inputs_that_fit(4 * WIDTH)
    requests = [
        (0, InferenceRequest("r", "m", ("a",) * (most + 1))),
        (1, InferenceRequest("r", "m", ("a",))),
    ]
    plan = engine.plan(requests, {})
    ((index, refused),) = plan.refused
    assert (index, refused.code) == (0, Code.TOO_LARGE)
    assert f"at most {most} of this model's fit" in refused.message
    assert [row.index for batch in plan.batches for row in batch] == [1]


def test_the_files_tell_what_the_engine_computes(tmp_path: Path) -> None:
    assert read_files(make_tiny(tmp_path / "m")).row_bytes == 4 * WIDTH
    assert read_files(make_tiny(tmp_path / "d", "distilbert")).row_bytes == 4 * WIDTH


@pytest.mark.parametrize("width", [1, 16, 384, 768, 4096])
def test_as_many_as_fit_do_fit(width: int) -> None:
    from modelmora.messages import Tensor

    most = inputs_that_fit(4 * width)
    check_inputs(most, most)
    check_inputs(10**9, None)
    with pytest.raises(RequestError, match="send several requests"):
        check_inputs(most + 1, most)
    around = len(encode_outputs((Tensor("embedding", "FP32", (most, width), b""),)))
    size = around + 4 * width * most
    assert OUTPUT_BYTES - 5 * 1024 - 4 * width < size < OUTPUT_BYTES - 1024


def test_damaged_weights_are_no_answer(tmp_path: Path) -> None:
    import torch

    engine = load(make_tiny(tmp_path / "m"))
    with torch.no_grad():
        engine.network.embeddings.word_embeddings.weight[5] = float("nan")
    asked = InferenceRequest("r", "m", ("a",))
    (batch,) = engine.plan([(0, asked)], {}).batches
    with pytest.raises(RequestError, match="NaN or infinity") as refused:
        engine.finish(asked, list(engine.run(batch, {})))
    assert refused.value.code is Code.INFERENCE_FAILED


LIES: dict[str, tuple[str, dict[str, object], str]] = {
    "more layers": ("config.json", {"num_hidden_layers": 3}, "the weights lack 32 tensors"),
    "fewer layers": ("config.json", {"num_hidden_layers": 0}, "16 tensors of layers"),
    "other shapes": ("config.json", {"intermediate_size": 7}, "3 tensors of the weights have"),
    "no such kind": ("config.json", {"model_type": "nonsense"}, "cannot be read"),
    "odd heads": ("config.json", {"num_attention_heads": 3}, "cannot be read"),
    "no activation": ("config.json", {"hidden_act": "nonsense"}, "cannot be read"),
    "no dtype": ("config.json", {"dtype": "float99"}, "cannot be read"),
    "no tokenizer": ("tokenizer.json", {"model": {"type": "WordLevel"}}, "cannot be read"),
    "no length": ("tokenizer_config.json", {"model_max_length": "x"}, "cannot be read"),
    "a negative length": ("tokenizer_config.json", {"model_max_length": -3}, "holds no text"),
}


@pytest.mark.parametrize(("file", "lie", "words"), LIES.values(), ids=LIES)
def test_a_lie_that_only_a_load_reveals_is_one_line_of_ours(
    tmp_path: Path, file: str, lie: dict[str, object], words: str
) -> None:
    path = make_tiny(tmp_path / "m") / file
    path.write_text(json.dumps(json.loads(path.read_text()) | lie))
    with pytest.raises(LoadError, match=words) as refused:
        load(tmp_path / "m")
    assert refused.value.code is Code.CANNOT_BE_SERVED
    assert "\n" not in refused.value.message


def test_without_an_object_store_it_is_what_a_record_holds() -> None:
    from modelmora.settings import Settings

    assert Settings().keeps_objects
    assert not Settings(role="node").keeps_objects
    assert inputs_that_fit(4 * 384, MOST_INLINE) == 1354
