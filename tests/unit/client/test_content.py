"""Inputs and parameters reach the door as they are given, and outputs come back as they are."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from modelmora.client.content import Answer, answer_of, request_of, vectors_of
from modelmora.errors import Invalid
from modelmora.gateway.doors.grpc.answers import part
from modelmora.gateway.doors.grpc.asks import read_ask
from modelmora.messages import ChatMessage, Content, Lane, ObjectRef, Parameter, Tensor
from modelmora.rpc.v1 import inference_pb2 as pb

INPUTS: tuple[Content, ...] = (
    "text",
    b"\x00bytes",
    Tensor("t", "FP32", (2, 1), struct.pack("<2f", 1, 2)),
    ChatMessage("user", "Hello"),
)
PARAMETERS: dict[str, Parameter] = {
    "none": None,
    "truth": True,
    "whole": -(1 << 63),
    "real": 0.5,
    "text": "t",
    "texts": ("a", "b"),
}


def test_what_is_asked_reaches_the_door_as_it_is() -> None:
    ask = read_ask(request_of("r", "m", INPUTS, PARAMETERS, "low"), "", None)
    assert (ask.request_id, ask.model, ask.lane) == ("r", "m", Lane.LOW)
    assert ask.inputs == INPUTS
    assert ask.parameters == PARAMETERS


@pytest.mark.parametrize(
    ("inputs", "parameters"),
    [
        ("a string is no list", {}),
        ([7], {}),
        (["x"], {"p": 1 << 63}),
        (["x"], {"p": {}}),
        (["x"], {"p": ["a", 1]}),
    ],
)
def test_what_no_model_takes_is_refused(inputs: Any, parameters: Any) -> None:
    with pytest.raises(Invalid, match=r"is needed|is no text"):
        request_of("r", "m", inputs, parameters, "")


def test_what_a_model_answers_comes_back_as_it_is() -> None:
    outputs = (*INPUTS, ObjectRef("s3://b/k", "0" * 64, 5, "image/png", 7))
    response = pb.InferResponse(
        request_id="r", model="m", version="1", outputs=[part(each) for each in outputs]
    )
    assert answer_of(response) == Answer("r", "m", "1", outputs)


def test_vectors_are_asked_of_models_that_give_them() -> None:
    with pytest.raises(Invalid, match="no vectors"):
        vectors_of(Answer("r", "m", "1", ("text",)))
