"""Classifiers and rerankers equal the libraries' own pipelines on the same files."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmora.errors import Code, RequestError
from tests.tiny_classifiers import LABELS, make_tiny_kind, picture
from tests.unit.engines.engine_rig import Answer, answers, loaded, numbers, words

CHANCE = random.Random(3)
TEXTS = [
    " ".join(CHANCE.choices(("a", "river", "queue"), k=CHANCE.randint(1, 40))) for _ in range(30)
]
MULTI = {"problem_type": "multi_label_classification"}


def ranks(answer: Answer) -> list[list[tuple[str, float]]]:
    """(label, score) of each input."""
    assert not isinstance(answer, RequestError), answer
    scores, labels = answer
    return [
        list(zip(names, row.tolist(), strict=True))
        for names, row in zip(words(labels, "labels"), numbers(scores, "scores"), strict=True)
    ]


def processor(folder: Path) -> Any:
    """What transformers itself finds only where torchvision is installed."""
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(str(folder), backend="pil")


def same(got: list[tuple[str, float]], wanted: list[dict[str, Any]]) -> None:
    assert [label for label, _ in got] == [each["label"] for each in wanted]
    assert [score for _, score in got] == pytest.approx([e["score"] for e in wanted], abs=1e-5)


@pytest.mark.parametrize("config", [{}, MULTI, {"problem_type": "regression"}])
def test_texts_are_classified_as_transformers_does(tmp_path: Path, config: dict[str, str]) -> None:
    from transformers import pipeline

    folder = make_tiny_kind(tmp_path / "m", "text", **config)
    wanted = pipeline("text-classification", str(folder), device="cpu", top_k=None)(TEXTS)
    one, rest = answers(loaded(folder, "classify"), "classify", TEXTS[:1], TEXTS[1:])
    for got, each in zip(ranks(one) + ranks(rest), wanted, strict=True):
        same(got, each)
    assert len({tuple(score for _, score in row) for row in ranks(rest)}) > 5, "inputs differ"


@pytest.mark.parametrize(
    ("kind", "config"), [("image", {}), ("image", MULTI), ("efficientnet", {})]
)
def test_images_are_classified_as_transformers_does(
    tmp_path: Path, kind: str, config: dict[str, str]
) -> None:
    from PIL import Image
    from transformers import pipeline

    folder = make_tiny_kind(tmp_path / "m", kind, **config)
    files = [picture(20 + n, 30 - n, n) for n in range(11)]
    pictures = [Image.open(io.BytesIO(file)) for file in files]
    given = {"device": "cpu", "image_processor": processor(folder)}
    wanted = pipeline("image-classification", str(folder), top_k=2, **given)(pictures)
    (got,) = answers(loaded(folder, "classify"), "classify", files, top_k=2)
    for row, each in zip(ranks(got), wanted, strict=True):
        same(row, each)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_labels_of_the_request_as_transformers_does(tmp_path: Path, kind: str) -> None:
    from PIL import Image
    from transformers import pipeline

    folder = make_tiny_kind(tmp_path / "m", kind)
    files = [picture(20 + n, 30 - n, n) for n in range(9)]
    pictures = [Image.open(io.BytesIO(file)) for file in files]
    labels = ("river", "a queue", "queue river a")
    given = {"device": "cpu", "image_processor": processor(folder)}
    pipe = pipeline("zero-shot-image-classification", str(folder), **given)
    wanted = pipe(pictures, candidate_labels=list(labels))
    engine = loaded(folder, "classify")
    (got,) = answers(engine, "classify", files, candidate_labels=labels)
    for row, each in zip(ranks(got), wanted, strict=True):
        same(row, each)
    (other,) = answers(engine, "classify", files, candidate_labels=("a",), hypothesis_template="{}")
    assert [label for row in ranks(other) for label, _ in row] == ["a"] * 9


IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize("told", ["", "sentence_transformers", "sbert_ce", "saved"])
def test_pairs_are_scored_as_sentence_transformers_does(tmp_path: Path, told: str) -> None:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    own: dict[str, dict[str, Any]] = {
        "sentence_transformers": {"sentence_transformers": {"activation_fn": IDENTITY}},
        "sbert_ce": {"sbert_ce_default_activation_function": IDENTITY},
    }
    folder = make_tiny_kind(tmp_path / "m", "reranker", **own.get(told, {}))
    if told == "saved":
        made = CrossEncoder(str(folder), device="cpu", activation_fn=Identity(), max_length=50)
        folder = tmp_path / "saved"
        made.save_pretrained(str(folder))
    query, *documents = TEXTS
    short = [" ".join(each.split()[:20]) for each in documents]
    wanted = CrossEncoder(str(folder), device="cpu").predict([(query, each) for each in short])
    first, second = answers(loaded(folder, "rerank"), "rerank", [query, *short], [query, short[3]])
    assert not isinstance(first, RequestError)
    assert not isinstance(second, RequestError)
    (scores,) = first
    np.testing.assert_allclose(numbers(scores, "scores"), wanted, atol=1e-5)
    assert numbers(second[0], "scores") == pytest.approx(wanted[3:4], abs=1e-5)
    assert np.std(wanted) > 1e-4, "pairs differ"


def test_a_pair_too_long_names_its_document(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    folder = make_tiny_kind(tmp_path / "m", "reranker")
    engine = loaded(folder, "rerank")
    long = "river " * 100
    refused, alone = answers(engine, "rerank", ["a", "river", long], ["a"])
    assert isinstance(refused, RequestError)
    assert refused.code is Code.INVALID_INPUT
    assert refused.message.startswith("input 2 has 104 tokens and the model takes 66")
    assert isinstance(alone, RequestError)
    assert "no document" in alone.message
    (cut,) = answers(engine, "rerank", ["a", long], truncate=True)
    assert not isinstance(cut, RequestError)
    wanted = CrossEncoder(str(folder), device="cpu", max_length=66).predict([("a", long)])
    assert numbers(cut[0], "scores") == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "inputs", "parameters", "told"),
    [
        ("text", [], {}, "empty"),
        ("text", [b"x"], {}, "only strings"),
        ("text", ["a"], {"candidate_labels": ("a",)}, "labels of its own"),
        ("image", [], {}, "empty"),
        ("image", ["a"], {}, "input 0 is str"),
        ("image", [b""], {}, "no image"),
        ("image", [picture()], {"candidate_labels": ("a",)}, "labels of its own"),
        ("clip", [picture()], {}, "candidate_labels"),
        ("clip", [picture()], {"candidate_labels": ("a " * 99,)}, "107 tokens and the model takes"),
        (
            "clip",
            [picture()],
            {"candidate_labels": ("a",), "hypothesis_template": "{0.__class__}"},
            "no {}",
        ),
    ],
)
def test_what_is_not_taken_is_refused(
    tmp_path: Path, kind: str, inputs: list[Any], parameters: dict[str, Any], told: str
) -> None:
    engine = loaded(make_tiny_kind(tmp_path / "m", kind), "classify")
    (refused,) = answers(engine, "classify", inputs, **parameters)
    assert isinstance(refused, RequestError)
    assert refused.code is Code.INVALID_INPUT
    assert told in refused.message


def test_one_broken_image_ends_its_request_alone(tmp_path: Path) -> None:
    engine = loaded(make_tiny_kind(tmp_path / "m", "image"), "classify")
    whole = picture()
    fine, cut, again = answers(engine, "classify", [whole], [whole, whole[:-200]], [whole])
    assert isinstance(cut, RequestError)
    assert (cut.code, cut.message) == (Code.INVALID_INPUT, "input 1 is cut off or damaged")
    assert ranks(fine) == ranks(again)
    assert {label for label, _ in ranks(fine)[0]} == set(LABELS)


def test_more_labels_than_fit_a_result_are_not_computed(tmp_path: Path) -> None:
    engine = loaded(make_tiny_kind(tmp_path / "m", "text"), "classify")
    refused, fine = answers(engine, "classify", ["a"] * 7_000_000, ["a"])
    assert isinstance(refused, RequestError)
    assert refused.code is Code.TOO_LARGE
    assert not isinstance(fine, RequestError)
