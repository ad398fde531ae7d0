"""Text models behind a real broker: one of safetensors and one of GGUF, streamed and killed."""

from __future__ import annotations

import os
import signal

import pytest

from modelmora.engines import CATALOG
from modelmora.errors import Code
from modelmora.messages import Content, InferenceResult, Parameter, Status, Tensor
from tests.stations import Station
from tests.tiny_pooled import WIDTH

GREY = CATALOG["img2txt"].warm_up.inputs  # type: ignore[union-attr]  # it has one
BOTH = ("tensors", "gguf")


@pytest.mark.parametrize("model", BOTH)
def test_text_comes_in_chunks_and_whole(station: Station, model: str) -> None:
    ids = station.send(6, model=model, temperature=0, max_tokens=60)
    answers = station.answers(ids)
    assert {answer.error for answer in answers} == {None}
    assert len({answer.outputs for answer in answers}) == 1
    settings = answers[0].settings
    assert settings["completion_tokens"] == 60
    assert (settings["finish_reason"], settings["max_tokens"]) == ("length", 60)
    (refused,) = station.seen.answers(station.send(model=model, loras=("none",)))
    assert refused.status is Status.REFUSED


def test_gguf_makes_vectors_and_scores_and_sees_images(station: Station) -> None:
    def asked(model: str, *inputs: Content, **parameters: Parameter) -> InferenceResult:
        ids = station.send(1, model=model, inputs=inputs, progress=False, **parameters)
        (answer,) = station.seen.answers(ids)
        return answer

    (vectors,) = asked("vectors", "the river", "sky").outputs
    (scores,) = asked("ranks", "the river", "sky", "blue", "the").outputs
    assert isinstance(vectors, Tensor)
    assert isinstance(scores, Tensor)
    assert (vectors.shape, scores.shape) == ((2, WIDTH), (3,))
    long = asked("vectors", "the " * 90)
    assert (long.status, long.error and long.error.code) == (Status.REFUSED, Code.INVALID_INPUT)
    assert asked("vectors", "the " * 90, truncate=True).status is Status.COMPLETED
    seen, blind = asked("eyes", "the", *GREY, temperature=0), asked("eyes", "the", temperature=0)
    assert seen.status is blind.status is Status.COMPLETED, seen.error
    assert seen.outputs != blind.outputs


@pytest.mark.parametrize("model", BOTH)
def test_a_version_with_an_adapter_answers_beside_its_base(station: Station, model: str) -> None:
    names = (model, f"{model}@tuned", model, f"{model}@1")
    sent = [station.send(model=name, temperature=0, max_tokens=20) for name in names]
    base, tuned, again, named = (station.answers(ids)[0] for ids in sent)
    assert tuned.error is None
    assert base.outputs == again.outputs == named.outputs != tuned.outputs
    assert (base.version, tuned.version) == ("1", "tuned")


@pytest.mark.parametrize("model", BOTH)
def test_a_killed_child_repeats_nothing(station: Station, model: str) -> None:
    (before,) = station.answers(station.send(model=model, seed=5, max_tokens=90))
    ids = station.send(model=model, seed=5, max_tokens=90)
    station.shown(ids)
    os.kill(station.child(model), signal.SIGKILL)
    (after,) = station.answers(ids)
    assert after.outputs == before.outputs


@pytest.mark.parametrize("model", BOTH)
def test_a_cancelled_request_leaves_the_others_alone(station: Station, model: str) -> None:
    first, second = station.send(2, model=model, temperature=0, max_tokens=100)
    station.cancel(first)
    cancelled, whole = station.seen.answers([first, second])
    assert whole.status is Status.COMPLETED
    assert cancelled.status in (Status.CANCELLED, Status.COMPLETED)
