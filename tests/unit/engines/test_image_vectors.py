"""Vectors of images, and of texts in their space, equal the model's own; captions too."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmora.engines.base import Row, Withdrawn
from modelmora.errors import Code, RequestError
from modelmora.messages import Content
from tests.tiny_classifiers import make_tiny_kind, picture
from tests.unit.engines.engine_rig import Answer, answers, loaded, numbers

FILES = [picture(20 + n, 30 - n, n) for n in range(9)]


def processor(folder: Path) -> Any:
    """What transformers itself finds only where torchvision is installed."""
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(str(folder), backend="pil")


def pixels(folder: Path, files: Sequence[bytes]) -> Any:
    from PIL import Image

    images = [Image.open(io.BytesIO(file)) for file in files]
    return processor(folder)(images=images, return_tensors="pt")


def captions(answer: Answer) -> list[Content]:
    assert not isinstance(answer, RequestError), answer
    return list(answer)


def vectors(answer: Answer) -> np.ndarray[Any, Any]:
    assert not isinstance(answer, RequestError), answer
    return numbers(answer[0], "embedding")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_images_and_texts_lie_in_one_space(tmp_path: Path, kind: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = make_tiny_kind(tmp_path / "m", kind)
    texts = ["river", "a queue of a river", "queue"]
    model = AutoModel.from_pretrained(str(folder)).eval()
    fill = {"padding": "max_length", "max_length": 64} if kind == "siglip" else {"padding": True}
    read = AutoTokenizer.from_pretrained(str(folder))(texts, return_tensors="pt", **fill)
    with torch.no_grad():
        wanted = model(**pixels(folder, FILES), **read)
    engine = loaded(folder, "img2embed")
    mixed: list[Content] = [texts[0], *FILES[:4], texts[1], texts[2], *FILES[4:]]
    (got,) = (vectors(each) for each in answers(engine, "img2embed", mixed))
    places = [1, 2, 3, 4, 7, 8, 9, 10, 11]
    np.testing.assert_allclose(got[places], wanted.image_embeds, atol=1e-5)
    np.testing.assert_allclose(got[[0, 5, 6]], wanted.text_embeds, atol=1e-5)
    (raw,) = answers(engine, "img2embed", FILES[:1], normalize=False)
    assert abs(float(np.linalg.norm(vectors(raw))) - 1) > 1e-3


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_a_model_of_images_alone(tmp_path: Path, kind: str) -> None:
    import torch
    from transformers import AutoModel

    folder = make_tiny_kind(tmp_path / "m", kind)
    with torch.no_grad():
        whole = AutoModel.from_pretrained(str(folder)).eval()(**pixels(folder, FILES))
    engine = loaded(folder, "img2embed")
    got, text, unit = (
        *answers(engine, "img2embed", FILES, ["river"]),
        answers(engine, "img2embed", FILES, normalize=True)[0],
    )
    # Both have a pooler without weights of its own in the files: the first token stands for all.
    np.testing.assert_allclose(vectors(got), whole.last_hidden_state[:, 0], atol=1e-5)
    assert isinstance(text, RequestError)
    assert text.code is Code.INVALID_INPUT
    assert np.linalg.norm(vectors(unit), axis=1) == pytest.approx(1, abs=1e-5)


def test_a_text_too_long_for_its_space(tmp_path: Path) -> None:
    engine = loaded(make_tiny_kind(tmp_path / "m", "clip"), "img2embed")
    refused, fine = answers(engine, "img2embed", ["river " * 99], ["river"])
    assert isinstance(refused, RequestError)
    assert refused.message.startswith("a text has 101 tokens and the model takes 66")
    assert vectors(fine).shape == (1, 12)
    (cut,) = answers(engine, "img2embed", ["river " * 99], truncate=True)
    assert vectors(cut).shape == (1, 12)


@pytest.mark.parametrize("kind", ["blip", "git", "vision-gpt2"])
def test_captions_are_those_of_generate(tmp_path: Path, kind: str) -> None:
    import transformers

    folder = make_tiny_kind(tmp_path / "m", kind)
    name = {
        "blip": "BlipForConditionalGeneration",
        "git": "GitForCausalLM",
        "vision-gpt2": "VisionEncoderDecoderModel",
    }[kind]
    model = getattr(transformers, name).from_pretrained(str(folder)).eval()
    told = {"max_new_tokens": 7, "do_sample": False, "use_cache": False}
    ids = model.generate(**pixels(folder, FILES), **told)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    wanted = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    engine = loaded(folder, "img2txt")
    one, rest = answers(engine, "img2txt", FILES[:1], FILES[1:], max_tokens=7)
    assert captions(one) + captions(rest) == wanted


def test_chance_follows_the_seed_alone_and_in_company(tmp_path: Path) -> None:
    engine = loaded(make_tiny_kind(tmp_path / "m", "git"), "img2txt")
    told: dict[str, Any] = {"max_tokens": 20, "temperature": 1.5}
    (alone,) = answers(engine, "img2txt", FILES[2:3], seed=7, **told)
    (company,) = answers(engine, "img2txt", FILES, seed=7, **told)
    (other,) = answers(engine, "img2txt", FILES, seed=8, **told)
    assert captions(alone) == captions(company)[2:3]
    assert captions(other) != captions(company)


def test_steps_are_told_and_may_be_withdrawn(tmp_path: Path) -> None:
    from modelmora.engines.images.captions import Captions

    engine = loaded(make_tiny_kind(tmp_path / "m", "git"), "img2txt")
    assert isinstance(engine, Captions)
    told: list[tuple[int, int]] = []

    def step(rows: Sequence[Row], done: int, total: int) -> None:
        told.append((done, total))
        if done == 3:
            raise Withdrawn

    engine.on_step = step
    with pytest.raises(Withdrawn):
        answers(engine, "img2txt", FILES[:2], max_tokens=9)
    assert told == [(1, 9), (2, 9), (3, 9)]


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("git", "img2txt"),
        ("siglip", "img2embed"),
        ("siglip", "classify"),
        ("image", "classify"),
        ("text", "classify"),
    ],
)
def test_the_first_request_of_a_child_is_answered(tmp_path: Path, kind: str, task: str) -> None:
    from modelmora.engines import CATALOG
    from modelmora.engines.entries import class_of, first_request
    from modelmora.wire import encode_request
    from modelmora.workers.child.trial import fault_of

    folder, entry = make_tiny_kind(tmp_path / "m", kind), CATALOG[task]
    assert entry.read is not None
    engine = class_of(entry, None, entry.read(folder))
    first = first_request(entry, "m", warm_up=True, engine=engine)
    assert first is not None
    assert fault_of(loaded(folder, task), encode_request(first)) is None


def test_a_broken_image_has_no_caption(tmp_path: Path) -> None:
    engine = loaded(make_tiny_kind(tmp_path / "m", "git"), "img2txt")
    cut, fine = answers(engine, "img2txt", [FILES[0][:-300]], FILES[:1])
    assert isinstance(cut, RequestError)
    assert cut.code is Code.INVALID_INPUT
    assert not isinstance(fine, RequestError)
