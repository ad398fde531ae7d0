"""Text models whose network is an ONNX graph: found, chosen, limited, and computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmora.engines import LoadError
from modelmora.engines.architectures import read_classifier
from modelmora.engines.graphs.forms import RECORD, form_of, is_faster
from modelmora.engines.sentences.sentence import read_files
from modelmora.errors import RequestError
from tests.tiny_graphs import FLOAT, INT64, axes, make_graph, model, node, port, table
from tests.tiny_models import WORDS, save_tokenizer
from tests.unit.engines.engine_rig import answers, loaded, numbers, words

PLACES = 12
ROWS = np.random.default_rng(5).normal(size=(len(WORDS), 4)).astype("<f4")
ROWS[0] = 0  # of the padding
IDS = [port(name, INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
VECTORS = ("embeddings.word_embeddings.weight", ROWS.tolist())
POSITIONS = ("embeddings.position_embeddings.weight", [[0.0]] * PLACES)


def looked_up(*more: bytes, places: bool = True) -> bytes:
    """Each token's row of a table."""
    nodes = [node("Gather", [VECTORS[0], "input_ids"], ["last_hidden_state"]), *more]
    constants = [table(*VECTORS), *([table(*POSITIONS)] if places else [])]
    return model(nodes, IDS, [port("last_hidden_state", FLOAT, ["batch", "tokens", 4])], constants)


def summed() -> bytes:
    """The sum of the tokens' rows, as the logits of four labels."""
    nodes = [
        node("Gather", [VECTORS[0], "input_ids"], ["rows"]),
        node("ReduceSum", ["rows", "axes"], ["sums"]),
        node("Squeeze", ["sums", "axes"], ["logits"]),
    ]
    constants = [table(*VECTORS), table(*POSITIONS), axes("axes", 1)]
    return model(nodes, IDS, [port("logits", FLOAT, ["batch", 4])], constants)


def made(folder: Path, content: bytes, config: dict[str, Any] | None = None) -> Path:
    make_graph(folder, content)
    save_tokenizer(folder, "[PAD]")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def ids_of(text: str) -> list[int]:
    return [WORDS.index(word) for word in ("[CLS]", *text.split(), "[SEP]")]


def test_a_folder_of_graph_and_tokenizer_makes_embeddings(tmp_path: Path) -> None:
    folder = made(tmp_path / "m", looked_up())
    told = read_files(folder)
    assert told.facts["dimension"] == 4
    assert told.row_bytes == 16
    texts = ["a", "river queue a", "queue queue queue queue", "a"]
    (answer,) = answers(loaded(folder, "txt2embed"), "txt2embed", texts)
    assert not isinstance(answer, RequestError)
    wanted = [ROWS[ids_of(text)].mean(axis=0) for text in texts]
    assert numbers(answer[0], "embedding") == pytest.approx(np.array(wanted), abs=1e-6)


def test_texts_are_as_long_as_the_graph_has_places(tmp_path: Path) -> None:
    engine = loaded(made(tmp_path / "m", looked_up()), "txt2embed")
    fits, refused = answers(engine, "txt2embed", ["a " * 10], ["a " * 11])
    assert not isinstance(fits, RequestError)
    assert isinstance(refused, RequestError)
    assert "has 13 tokens and the model takes 12" in refused.message


def test_the_configuration_tells_the_places_that_a_graph_does_not(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="how many tokens it takes"):
        read_files(made(tmp_path / "a", looked_up(places=False)))
    config = {"max_position_embeddings": 14, "model_type": "roberta", "pad_token_id": 1}
    engine = loaded(made(tmp_path / "b", looked_up(places=False), config), "txt2embed")
    (refused,) = answers(engine, "txt2embed", ["a " * 11])
    assert isinstance(refused, RequestError)
    assert "takes 12" in refused.message


def test_a_graph_classifies(tmp_path: Path) -> None:
    config = {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(n): name for n, name in enumerate("wxyz")},
    }
    folder = made(tmp_path / "m", summed(), config)
    assert read_classifier(folder).facts["labels"] == ("w", "x", "y", "z")
    texts = ["a", "river queue a"]
    (answer,) = answers(loaded(folder, "classify"), "classify", texts)
    assert not isinstance(answer, RequestError)
    scores, labels = answer
    for text, got, names in zip(
        texts, numbers(scores, "scores"), words(labels, "labels"), strict=True
    ):
        logits = ROWS[ids_of(text)].sum(axis=0)
        wanted = np.exp(logits) / np.exp(logits).sum()
        assert got == pytest.approx(np.sort(wanted)[::-1], abs=1e-6)
        assert names == ["wxyz"[n] for n in np.argsort(-wanted)]


NUMBERS = [port("x", FLOAT, [1])], [port("y", FLOAT, [1])]
IDS_AGAIN = IDS, [port("y", INT64, ["batch", "tokens"])]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (summed(), None),
        (model([node("Abs", ["x"], ["y"])], *NUMBERS), "no text"),
        (model([node("Abs", ["input_ids"], ["y"])], *IDS_AGAIN), "no token"),
        (b"", "no ONNX file"),
    ],
)
def test_a_graph_of_something_else_is_refused(
    tmp_path: Path, content: bytes, fault: str | None
) -> None:
    folder = made(tmp_path / "m", content)
    if fault is None:
        assert read_files(folder)
        return
    with pytest.raises(LoadError, match=fault):
        read_files(folder)


GOOD = {"cosine_min": 0.99999, "single_vs_torch": 1.5}
TORCH, ONNX = {"model.safetensors": b""}, {"model.onnx": b""}
BOTH = {**TORCH, **ONNX}


@pytest.mark.parametrize(
    ("files", "options", "on_cpu", "chosen"),
    [
        (TORCH, {}, True, False),
        (ONNX, {}, True, True),
        (ONNX, {}, False, True),
        (BOTH, {}, True, False),
        ({**BOTH, RECORD: GOOD}, {}, True, True),
        ({**BOTH, RECORD: GOOD}, {}, False, False),
        (
            {**BOTH, RECORD: GOOD},
            {"form": "torch"},
            True,
            False,
        ),
        (BOTH, {"form": "onnx"}, True, True),
        (ONNX, {"form": "torch"}, True, "no \\*.safetensors"),
        (TORCH, {"form": "onnx"}, True, "no model.onnx"),
        (TORCH, {"form": "tensorflow"}, True, "is one of auto, torch, onnx"),
    ],
)
def test_which_form_computes(
    tmp_path: Path, files: dict[str, Any], options: dict[str, str], on_cpu: bool, chosen: bool | str
) -> None:
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / name).write_bytes(raw)
    if isinstance(chosen, str):
        with pytest.raises(LoadError, match=chosen):
            form_of(tmp_path, options, on_cpu=on_cpu)
    else:
        assert form_of(tmp_path, options, on_cpu=on_cpu) == (tmp_path if chosen else None)


@pytest.mark.parametrize(
    ("record", "faster"),
    [
        (GOOD, True),
        ({**GOOD, "cosine_min": 0.93}, False),
        ({**GOOD, "single_vs_torch": 1.0}, False),
        ({**GOOD, "single_vs_torch": "2"}, False),
        ({}, False),
    ],
)
def test_a_graph_is_chosen_where_it_is_the_same_and_faster(
    record: dict[str, Any], faster: bool
) -> None:
    assert is_faster(record) is faster
